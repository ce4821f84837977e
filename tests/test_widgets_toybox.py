"""The toybox explorer: what it draws against the toybox itself, words against arrays, view against state."""

from __future__ import annotations

import html
from dataclasses import fields

import numpy as np
import pytest
import traitlets

import pclib
from pclib.toybox import CATEGORIES, NAMES, Toybox
from pclib.toybox.knobs import Knobs
from pclib.widgets import ToyboxExplorer, ToyboxState
from pclib.widgets.toybox import SIDE, STEPS

TURNED = {
    "defect_size": 2.0,
    "contrast": 0.3,
    "number": 3,
    "jitter": 2.5,
    "lighting": 0.0,
    "noise": 4.5,
    "irregularity": 1.75,
    "mislabelled": 0.25,
}


def named(line: str):
    """The sample that a line of Python stands for."""
    return eval(line, {"pclib": pclib})


def same(state: ToyboxState) -> bool:
    """Whether the state draws what its line stands for, and knows the same of it."""
    mine, wanted = state.sample(), named(state.line())
    return (
        np.array_equal(mine.load(), wanted.load())
        and np.array_equal(mine.clean(), wanted.clean())
        and np.array_equal(mine.load_mask(), wanted.load_mask())
        and state.flaws() == wanted.flaws()
        and state.line() in state.words()
    )


class TestState:
    @pytest.mark.parametrize("name", NAMES)
    def test_draws_what_its_line_stands_for(self, name):
        for kind in ("good", *CATEGORIES[name].defects):
            state = ToyboxState(name, kind=kind, index=1, seed=3, size=64, contrast=0.5, number=2)
            assert same(state)
            assert named(state.line()).defect == kind

    def test_and_does_after_each_knob_is_turned_and_turned_back(self):
        state = ToyboxState("coins", kind="scratch", size=64)
        for knob, value in TURNED.items():
            setattr(state, knob, value)
            assert same(state), knob
        for knob in TURNED:
            setattr(state, knob, getattr(Knobs(), knob))
            assert same(state), knob
        for number in (4, 2, 6):
            state.number = number
            assert same(state), number

    def test_has_a_trait_and_a_slider_for_each_knob_over_its_range(self):
        state = ToyboxState(size=64)
        sliders = {control.trait: control for control in state.controls()}
        for knob in fields(Knobs):
            assert getattr(state, knob.name) == knob.default and type(getattr(state, knob.name)) is type(knob.default)
            stops = sliders[knob.name].stops
            assert (stops[0], stops[-1]) == Knobs.ranges()[knob.name] and knob.default in stops
        assert set(STEPS) == {knob.name for knob in fields(Knobs)}

    def test_a_value_between_stops_gets_one(self):
        state = ToyboxState(size=64, contrast=0.333, seed=77)
        sliders = {control.trait: control for control in state.controls()}
        assert 0.333 in sliders["contrast"].stops and 77 in sliders["seed"].stops

    def test_the_line_names_only_what_is_not_as_usual(self):
        assert ToyboxState().line() == "pclib.Toybox('washer').test[20]"
        state = ToyboxState("board", kind="turned", index=2, size=64, seed=4, noise=2, number=3)
        assert state.line() == "pclib.Toybox('board', number=3, noise=2.0, size=64, seed=4).test[49]"

    def test_a_category_without_the_kind_shows_its_first_one(self):
        state = ToyboxState("coins", kind="missing", index=5, size=64)
        state.category = "brick"
        assert (state.kind, state.index) == ("missing", 5)
        state.category = "weave"
        assert state.kind == next(iter(CATEGORIES["weave"].defects)) and same(state)
        state.kind = "good"
        state.category = "washer"
        assert state.kind == "good"

    def test_a_kind_with_fewer_pictures_shows_its_last_one(self):
        state = ToyboxState("board", kind="good", index=19, size=64)
        state.kind = "bent_lead"
        count = sum(sample.defect == "bent_lead" for sample in Toybox("board").test)
        assert state.index == count - 1 and same(state)

    def test_words_hold_the_flaws(self):
        state = ToyboxState("washer", kind="chip", number=2, size=128)
        flaws, mask = state.flaws(), state.sample().load_mask()
        assert f"{len(flaws)} region" in state.words()
        assert f"{100 * mask.mean():.2g} % of the picture" in state.words()
        for flaw in flaws:
            assert f"{flaw.size} pixels around row {flaw.centre[0]:.0f}, column {flaw.centre[1]:.0f}" in state.words()
            assert f"contrast {flaw.contrast:.0f} of 255" in state.words()
        assert "Chip: A bite out of the outer or the inner edge" in state.words()

    def test_words_name_the_knobs_that_are_turned(self):
        assert "All knobs stand at their default." in ToyboxState(size=64).words()
        words = ToyboxState(size=64, contrast=0.5, mislabelled=0.1).words()
        assert f"contrast 0.5 (default 1): {Knobs.meanings()['contrast']}." in words
        assert "mislabelled 10 % (default 0 %)" in words and "noise" not in words
        wrong = sum(sample.truth != "good" for sample in Toybox("washer", mislabelled=0.1).train)
        assert f"{wrong} of 60 training pictures are defective and labelled good" in words

    def test_many_regions_are_named_in_part(self):
        state = ToyboxState("blister", kind="speck", number=6, size=256)
        state.index = max(range(5), key=lambda i: len(ToyboxState("blister", kind="speck", number=6, index=i).flaws()))
        assert state.words().count("around row") == min(6, len(state.flaws()))

    def test_a_good_picture_has_no_defect(self):
        state = ToyboxState("gravel", kind="good", size=64)
        picture, clean, mask, change = state.panels()
        assert np.array_equal(picture.pixels, clean.pixels) and len(np.unique(mask.pixels)) == 1
        assert not change.pixels.reshape(-1, 3)[:, 0].any()
        assert "Its mask is empty." in state.words() and "nothing is painted over it" in state.words()

    def test_panels_show_the_picture_its_twin_its_mask_and_the_change(self):
        state = ToyboxState("washer", kind="stain", size=256)
        sample = Toybox("washer").test[[s.defect for s in Toybox("washer").test].index("stain")]
        picture, clean, mask, change = state.panels()
        assert np.array_equal(picture.pixels, sample.load()) and np.array_equal(clean.pixels, sample.clean())
        known = sample.load_mask()
        difference = np.abs(np.asarray(sample.load(), float) - np.asarray(sample.clean())).mean(-1)
        assert not change.pixels[~known].any(-1).any() or (change.pixels[~known] == change.pixels[0, 0]).all()
        assert (
            f"up to {difference.max():.0f} of 255 grey levels, {difference[known].mean():.0f} on average" in change.alt
        )
        assert f"Mask: {known.sum():,} of 65,536 pixels in 1 region" in mask.alt
        apart = (mask.pixels != mask.pixels[0, 0]).any(-1)
        assert apart[known].mean() > 0.9  # all but the letters, which may lie on it

    def test_panels_keep_titles_and_size(self):
        state = ToyboxState(size=64)
        titles = [panel.title for panel in state.panels()]
        for chosen in ({"category": "grass"}, {"kind": "good"}, {"noise": 8.0}):
            for trait, value in chosen.items():
                setattr(state, trait, value)
            assert [panel.title for panel in state.panels()] == titles
            assert all(panel.pixels.shape == (SIDE, SIDE, 3) and panel.width == SIDE for panel in state.panels())

    @pytest.mark.parametrize(
        ("chosen", "message"),
        [
            ({"kind": "dry"}, "kind of washer must be one of 'good', 'scratch'.*got 'dry'"),
            ({"index": 8}, r"index of scratch must lie in \[0, 7\], got 8"),
            ({"index": -1}, "index of scratch must lie"),
            ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
            ({"contrast": 0.0}, "contrast must be a number from 0.05 to 1, got 0.0"),
            ({"noise": 8.5}, "noise must be a number from 0 to 8, got 8.5"),
            ({"number": 7}, "number must be a whole number from 1 to 6, got 7"),
        ],
    )
    def test_refuses_what_there_is_not(self, chosen, message):
        state = ToyboxState(size=64)
        ((trait, value),) = chosen.items()
        before = getattr(state, trait)
        with pytest.raises(ValueError, match=message):
            setattr(state, trait, value)
        assert getattr(state, trait) == before
        with pytest.raises(ValueError, match=message):
            ToyboxState(size=64, **chosen)

    def test_refuses_unknown_categories_knobs_and_sizes(self):
        for arguments, message in (
            ({"category": "bolts"}, "no embedded category 'bolts'"),
            ({"hue": 1}, "no knob 'hue'"),
            ({"size": 32}, "size must be a whole number of at least 64"),
        ):
            with pytest.raises(ValueError, match=message):
                ToyboxState(**arguments)
        state = ToyboxState(size=64)
        with pytest.raises(ValueError, match=r"category must be one of .*got 'bolts'"):
            state.category = "bolts"
        with pytest.raises(traitlets.TraitError):
            state.number = 1.5
        assert (state.category, state.number) == ("washer", 1)


class TestExplorer:
    def test_follows_the_state(self):
        view = ToyboxExplorer("washer", size=64)
        before = view._pictures["Picture"].data
        view.state.category = "coins"
        assert view._controls["category"].value == "coins" and view._controls["kind"].value == view.state.kind
        assert "one too many" in dict(view._controls["kind"].options) and view._pictures["Picture"].data != before
        view.state.jitter = 0.6
        slider = view._controls["jitter"]
        assert slider.stops[slider.index] == "0.6" and view._words.text == view.state.words()

    def test_the_state_follows_the_controls(self):
        view = ToyboxExplorer("washer", size=64)
        for trait, index, value in (("index", 3, 3), ("seed", 2, 2), ("contrast", 0, 0.05), ("number", 5, 6)):
            view._controls[trait].index = index
            assert getattr(view.state, trait) == value
        view._controls["kind"].value = "dent"
        view._controls["category"].value = "grass"
        assert view.state.kind == next(iter(CATEGORIES["grass"].defects)) and same(view.state)

    def test_mislabelled_pictures_change_the_words_alone(self):
        view = ToyboxExplorer("washer", size=64)
        sent = []
        for picture in view._pictures.values():
            picture.observe(sent.append, "data")
        view._controls["mislabelled"].index = 2
        assert not sent and "6 of 60 training pictures" in view._words.text

    def test_its_figure_has_alt_texts_and_words_and_is_small(self):
        view = ToyboxExplorer("weave", noise=8)
        page = view.figure()._repr_html_()
        assert page.count("alt=") == 4 and all(html.escape(panel.alt) in page for panel in view.state.panels())
        assert all(html.escape(line) in page for line in view.state.words().splitlines())
        assert len(page) < 300_000

    def test_arguments_reproduce_a_state(self):
        view = ToyboxExplorer(size=64)
        chosen = {"category": "board", "kind": "swapped", "index": 1, "seed": 5, **TURNED}
        for trait, value in chosen.items():
            setattr(view.state, trait, value)
        again = ToyboxExplorer(size=64, **chosen)
        assert again.figure().words == view.figure().words
        for one, other in zip(view.state.panels(), again.state.panels(), strict=True):
            assert np.array_equal(one.pixels, other.pixels) and one.alt == other.alt
