"""Explorers without a browser: states against plain arrays, views against states, figures that stand in for both."""

from __future__ import annotations

import gc
import html
import weakref
from io import BytesIO

import ipywidgets
import numpy as np
import pytest
import traitlets
from matplotlib import pyplot as plt
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from pclib.datasets import open_category
from pclib.extraction import silent
from pclib.patchcore import PatchCore
from pclib.samples import Category
from pclib.scoring import anomaly_map
from pclib.toybox import Toybox
from pclib.widgets import CoresetExplorer, CoresetState, Material, ScoreExplorer, ScoreState, explorer, gather, material
from pclib.widgets.coreset import STRATEGIES
from pclib.widgets.explorer import Explorer
from pclib.widgets.pixels import Canvas, coloured, mosaic, outlined, stamped
from pclib.widgets.state import Choose, Panel, Slide, State, Switch, short

from .conftest import SMALL


@pytest.fixture(scope="module")
def stuff(washers) -> Material:
    return gather(washers, detector=PatchCore(**SMALL), progress=silent)


@pytest.fixture(scope="module")
def coreset(stuff) -> CoresetState:
    return CoresetState(stuff)


MARKS = ("dot", "square", "rhombus", "ring", "diamond")


class Sums(State):
    """A small state: two numbers, their sum, and a picture as bright as that."""

    left, right = traitlets.Int(1), traitlets.Int(2)
    twice = traitlets.Bool(False)

    @traitlets.validate("left")
    def _check(self, proposal):
        if proposal["value"] > 5:
            raise ValueError(f"left must be at most 5, got {proposal['value']}")
        return proposal["value"]

    def value(self) -> int:
        return (self.left + self.right) * (2 if self.twice else 1)

    def controls(self):
        return [
            Slide("left", "Left", range(8), lambda n: f"{n} apples"),
            Choose("right", "Right", {f"{n} pears": n for n in range(self.left + 3)}),
            Switch("twice", "Twice"),
        ]

    def panels(self):
        pixels = np.full((20, 30, 3), 10 * self.value(), np.uint8)
        return [Panel("Sum", pixels, f"the sum is {self.value()}", 60, point=self._point, step=self._step)]

    def words(self):
        return f"{self.left} + {self.right} = {self.value()}"

    def _point(self, x, y):
        self.left = int(4 * x)

    def _step(self, across, down):
        self.left += across


class TestView:
    def test_shows_what_the_state_says(self):
        view = Explorer(Sums())
        slider, choice, switch = (view._controls[trait] for trait in ("left", "right", "twice"))
        assert (slider.label, slider.stops[slider.index]) == ("Left", "1 apples")
        assert (choice.description, choice.label) == ("Right", "2 pears")
        assert (switch.description, switch.value) == ("Twice", False)
        assert view._words.text == "1 + 2 = 3" and view._pictures["Sum"].alt == "the sum is 3"

    def test_follows_the_state(self):
        view = Explorer(Sums())
        before = view._pictures["Sum"].data
        view.state.left = 3
        assert view._controls["left"].index == 3 and "5 pears" in dict(view._controls["right"].options)
        assert view._words.text == "3 + 2 = 5" and view._pictures["Sum"].data != before
        shown = np.asarray(Image.open(BytesIO(view._pictures["Sum"].data)))
        assert abs(int(shown[0, 0, 0]) - 50) <= 2

    def test_the_state_follows_the_controls(self):
        view = Explorer(Sums())
        view._controls["left"].index = 4
        view._controls["right"].value = 0
        view._controls["twice"].value = True
        assert view._words.text == "4 + 0 = 8"

    def test_pointing_and_arrow_keys_reach_the_state(self):
        view = Explorer(Sums())
        picture = view._pictures["Sum"]
        assert picture.answers
        picture.pointed = [0.8, 0.1]
        assert view.state.left == 3
        picture.stepped = [-2, 0]
        picture.stepped = [-1, 1]  # counted from the start: one back
        assert view.state.left == 2

    def test_options_that_go_do_not_choose_for_the_state(self):
        view = Explorer(Sums(left=4, right=6))
        view.state.left = 5
        assert view.state.right == 6
        with pytest.raises(traitlets.TraitError):  # no such pears any more: an error, not another choice
            view.state.left = 1

    def test_what_goes_wrong_is_shown_and_raised_and_leaves_the_controls_true(self):
        view = Explorer(Sums())
        with pytest.raises(ValueError, match="at most 5, got 7"):
            view._controls["left"].index = 7
        assert view._words.trouble == "ValueError: left must be at most 5, got 7"
        assert view._controls["left"].index == view.state.left == 1
        view.state.left = 2
        assert view._words.trouble == ""

    def test_an_unchanged_picture_is_not_sent_again(self):
        view = Explorer(Sums())
        sent = []
        view._pictures["Sum"].observe(sent.append, "data")
        view.state.left, view.state.right = 2, 1  # 4 on the way, then 3 again
        assert len(sent) == 2
        view.state.set_trait("right", 1)
        assert len(sent) == 2

    def test_without_a_kernel_it_is_a_figure_with_alt_text_and_words(self):
        bundle = Explorer(Sums())._repr_mimebundle_()
        assert bundle["text/plain"] == "1 + 2 = 3"
        assert 'alt="the sum is 3"' in bundle["text/html"] and "1 + 2 = 3" in bundle["text/html"]
        assert "application/vnd.jupyter.widget-view+json" in bundle
        assert repr(Explorer(Sums(left=2)).figure()) == "2 + 2 = 4"

    def test_words_and_names_are_escaped(self):
        class Nasty(Sums):
            def words(self):
                return "<script>alert(1)</script>\nsecond"

        page = Explorer(Nasty()).figure()._repr_html_()
        assert "<script>" not in page and html.escape("<script>") in page and "<br>second" in page

    def test_closing_lets_go_of_everything(self):
        state = Sums()
        view, held = Explorer(state), weakref.ref(state)
        view._repr_mimebundle_()
        view.close()
        view.close()  # twice does no harm
        with pytest.raises(RuntimeError, match="closed, because its cell ran again"):
            _ = view.state
        del state
        gc.collect()
        assert held() is None

    def test_slow_work_begins_when_it_is_shown_and_not_if_it_is_closed_before(self, monkeypatch):
        class Slow(Sums):
            prepared = 0

            def prepare(self):
                type(self).prepared += 1

        monkeypatch.setattr(explorer, "SETTLED", 0.05)
        shown, closed = Explorer(Slow()), Explorer(Slow())
        assert Slow.prepared == 0
        for view in (shown, shown, closed):  # shown twice, prepared once
            view._repr_mimebundle_()
        later = closed._later
        closed.close()
        for timer in (later, shown._later):
            timer.join(5)
        assert Slow.prepared == 1

    def test_running_a_cell_again_closes_what_it_made_before(self, monkeypatch):
        monkeypatch.setattr(explorer, "_made", {})
        run = ["cell", 0]
        monkeypatch.setattr(explorer, "_this_run", lambda: tuple(run))
        first, beside = Explorer(Sums()), Explorer(Sums())
        run[1] = 1
        again = Explorer(Sums())
        for closed in (first, beside):
            with pytest.raises(RuntimeError):
                _ = closed.state
        run[:] = ["another cell", 2]
        other = Explorer(Sums())
        assert again.state.left == other.state.left == 1

    def test_fifty_runs_leave_one_explorer_and_no_figures(self, monkeypatch, stuff):
        monkeypatch.setattr(explorer, "_made", {})
        runs = iter(range(100))
        monkeypatch.setattr(explorer, "_this_run", lambda: ("cell", next(runs)))
        figures, registry = plt.get_fignums(), ipywidgets.widgets.widget._instances
        Explorer(Sums())
        before = len(registry)
        for _ in range(50):
            live = Explorer(Sums())
        assert len(registry) == before and live.state.left == 1
        CoresetExplorer(stuff)  # charts are drawn, and no figure stays open
        assert plt.get_fignums() == figures


class TestMaterial:
    def test_all_of_a_small_category_is_taken(self, stuff, washers):
        assert [s.name for s in stuff.train.samples] == [s.name for s in washers.train]
        assert stuff.note == "" and len(stuff.labels()) == 14
        assert len(stuff.detector.bank) == int(0.1 * len(washers.train) * 14 * 14)

    def test_of_a_large_one_evenly_spaced_pictures(self, washers):
        few = gather(washers, train=5, test=4, detector=PatchCore(**SMALL), progress=silent)
        assert [s.name[-7:-4] for s in few.train.samples] == ["000", "004", "008", "011", "015"]
        assert few.note == "5 of 16 training pictures and 4 of 14 test pictures are looked at."
        assert few.note in CoresetState(few).words() and few.note in ScoreState(few).words()

    def test_what_memory_does_not_hold_is_left_out_and_said(self, washers, monkeypatch):
        each = 14 * 14 * 1024 * 4
        monkeypatch.setattr(material, "available_memory", lambda: 2 * 15 * each)
        half = gather(washers, detector=PatchCore(**SMALL), progress=silent)
        assert (len(half.train.samples), len(half.test.samples)) == (8, 7)
        assert "8 of 16 training pictures" in half.note and "The features of 30 would take" in half.note

    def test_one_test_picture_can_be_asked_for(self, washers):
        assert len(gather(washers, train=2, test=1, detector=PatchCore(**SMALL), progress=silent).test.samples) == 1

    def test_its_scores_are_the_detectors(self, stuff, washers):
        assert np.allclose(stuff.scores().image, stuff.detector.score(washers.test, progress=silent).image, rtol=1e-5)

    def test_a_category_without_test_pictures_is_refused(self, washers):
        with pytest.raises(ValueError, match="no test pictures to explore"):
            gather(Category("bare", washers.train, []), progress=silent)

    @pytest.mark.parametrize(("wrong", "says"), [({"train": 1}, "train must be"), ({"test": 0}, "test must be")])
    def test_numbers_out_of_range(self, wrong, says):
        with pytest.raises(ValueError, match=says):
            gather("toybox/washer", **wrong)


class TestCoreset:
    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_numbers_against_plain_distances(self, coreset, strategy):
        coreset.strategy = strategy
        run = coreset.run(strategy)
        labels = coreset.material.labels()
        for stop in (0, len(run.sizes) // 2, len(run.sizes) - 1):
            kept = run.kept[stop]
            assert len(np.unique(kept)) == run.sizes[stop]
            assert run.radii[stop] == pytest.approx(
                cdist(coreset.vectors, coreset.vectors[kept]).min(1).max(), rel=1e-4
            )
            squared = cdist(coreset.tested, coreset.vectors[kept], "sqeuclidean").min(1)
            assert np.allclose(run.scores[stop].ravel(), squared, rtol=1e-3, atol=1e-2)
            by_image = squared.reshape(len(labels), -1).max(1)
            assert run.auroc[stop] == pytest.approx(roc_auc_score(labels, by_image))

    def test_sizes_are_prefixes_of_one_greedy_run(self, coreset):
        run = coreset.run("greedy")
        assert all(np.array_equal(run.kept[-1][: len(kept)], kept) for kept in run.kept)
        assert run.radii == sorted(run.radii, reverse=True)

    @pytest.mark.parametrize("patch", [0, 777, 3135])
    def test_which_kept_patch_covers_one(self, coreset, patch):
        coreset.strategy, coreset.size, coreset.patch = "greedy", coreset.sizes[3], patch
        kept = coreset.kept()
        distances = np.linalg.norm(coreset.vectors[kept] - coreset.vectors[patch], axis=1)
        assert coreset.covering_patch() == (kept[distances.argmin()], pytest.approx(distances.min(), rel=1e-4))
        picture, row, column = coreset.place(patch)
        assert (picture * 14 + row) * 14 + column == patch
        assert f"picture {picture}, row {row}, column {column}" in coreset.words()

    def test_a_kept_patch_covers_itself(self, coreset):
        coreset.patch = int(coreset.kept()[0])
        assert coreset.covering_patch() == (coreset.patch, pytest.approx(0, abs=0.05))
        assert "is kept." in coreset.words()

    def test_the_map_is_that_of_the_kept_patches(self, coreset):
        coreset.strategy, coreset.picture = "random", 9
        grid = cdist(
            coreset.material.test_features[9].reshape(-1, 1024), coreset.vectors[coreset.kept()], "sqeuclidean"
        )
        expected = anomaly_map(grid.min(1).reshape(1, 14, 14), 112, 4.0)[0]
        assert np.allclose(coreset.map(), expected, rtol=1e-3, atol=1e-2)

    def test_pointing_in_one_picture_shows_the_patch_in_the_other(self, stuff):
        view = CoresetExplorer(stuff)
        sheet, scatter, *_ = view.state.panels()
        sheet.point(1.5 / 6, 0.5 / 3)  # the middle of the second of 16 pictures, in three rows of six
        assert view.state.place(view.state.patch) == (1, 7, 7)
        assert "picture 1, row 7, column 7" in view._words.text
        sheet.step(-3, 100)
        assert view.state.place(view.state.patch) == (1, 13, 4)
        height, width = scatter.pixels.shape[:2]
        x, y = view.state._places[500]
        scatter.point(x / width, y / height)
        assert np.allclose(view.state._places[view.state.patch], (x, y), atol=1)

    def test_arrow_keys_in_the_scatter_go_along_the_directions(self, stuff):
        state = CoresetState(stuff, patch=200)
        places = state._places
        state.panels()[1].step(1, 0)
        between = (places[:, 0] > places[200, 0]) & (places[:, 0] < places[state.patch, 0])
        assert places[state.patch, 0] >= places[200, 0] and not between.any()
        state.panels()[1].step(-1, 0)
        assert state.patch == 200

    def test_pointing_beside_the_pictures_does_nothing(self, stuff):
        state = CoresetState(stuff, patch=5)
        state.panels()[0].point(5.5 / 6, 2.5 / 3)  # 16 pictures: the third row has four
        assert state.patch == 5

    def test_arguments_reproduce_a_state(self, stuff, coreset):
        chosen = {"strategy": "k-means", "size": 150, "picture": 3, "patch": 99}
        view = CoresetExplorer(stuff, **chosen)
        for trait, value in chosen.items():
            setattr(coreset, trait, value)
        assert view.figure().words == coreset.words()
        for ours, theirs in zip(view.state.panels(), coreset.panels(), strict=True):
            assert ours.alt == theirs.alt
        assert [p.title for p in coreset.panels()] == [p.title for p in CoresetState(stuff).panels()]

    def test_a_strategy_that_will_take_long_says_so_until_it_is_there(self, stuff):
        state = CoresetState(stuff)
        state._seconds = 9.0
        _, kmeans = (name for name, value in state.controls()[0].options.items() if value != "greedy")
        assert kmeans == "k-means (takes about 45 s)"
        state.prepare()
        assert list(state.controls()[0].options) == list(STRATEGIES)

    def test_the_projection_does_not_depend_on_the_global_generator(self, stuff):
        np.random.seed(1)  # noqa: NPY002
        one = CoresetState(stuff)._places
        np.random.seed(2)  # noqa: NPY002
        assert np.array_equal(one, CoresetState(stuff)._places)

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"strategy": "best"}, "must be one of 'greedy', 'random', 'k-means'"),
            ({"size": 10**6}, r"size must lie in \[10, 313\], got 1000000"),
            ({"picture": 14}, r"picture must lie in \[0, 13\], got 14"),
            ({"patch": -1}, r"patch must lie in \[0, 3135\], got -1"),
        ],
    )
    def test_states_out_of_range_are_refused_and_nothing_changes(self, stuff, coreset, wrong, says):
        before = coreset.words()
        with pytest.raises(ValueError, match=says):
            coreset.set_trait(*next(iter(wrong.items())))
        assert coreset.words() == before
        with pytest.raises(ValueError, match=says):
            CoresetState(stuff, **wrong)

    def test_one_class_only_has_no_auroc_and_says_so(self, washers):
        good = Category("good", washers.train[:4], [s for s in washers.test if s.defect == "good"])
        few = gather(good, detector=PatchCore(**SMALL), progress=silent)
        for view in (CoresetExplorer(few), ScoreExplorer(few)):
            assert "No image AUROC: it takes good and defective test pictures." in view._words.text

    def test_one_test_picture_and_two_training_pictures(self, washers):
        tiny = gather(
            Category("tiny", washers.train[:2], washers.test[-1:]), detector=PatchCore(**SMALL), progress=silent
        )
        for view in (CoresetExplorer(tiny), ScoreExplorer(tiny)):
            assert "Test picture 0" in view.figure().words
            assert all(panel.alt for panel in view.figure().panels)


@pytest.fixture(scope="module")
def scored(stuff) -> ScoreState:
    return ScoreState(stuff)


class TestScores:
    @pytest.mark.parametrize(("k", "squared"), [(1, True), (3, True), (4, False)])
    def test_numbers_against_plain_distances(self, scored, k, squared):
        scored.picture, scored.place, scored.k, scored.squared, scored.weighted = 9, (30, 71), k, squared, False
        patch = scored.material.test_features[9, 30 * 14 // 112, 71 * 14 // 112]
        distances = np.linalg.norm(scored.bank.vectors - patch, axis=1) ** (2 if squared else 1)
        nearest = np.argsort(distances)[:k]
        assert scored.patch_scores()[9, 3, 8] == pytest.approx(np.sort(distances)[:k].mean(), rel=1e-4)
        for (picture, place, distance), row in zip(scored.neighbors(), nearest, strict=True):
            assert (picture, place) == (scored.bank.image[row], tuple(scored.bank.place[row]))
            assert distance == pytest.approx(distances[row], rel=1e-4)
        every = cdist(scored.material.test_features.reshape(-1, 1024), scored.bank.vectors) ** (2 if squared else 1)
        by_image = np.sort(every, 1)[:, :k].mean(1).reshape(14, -1).max(1)
        assert np.allclose(scored.image_scores(), by_image, rtol=1e-3)
        labels = scored.material.labels()
        assert f"scored like this: {roc_auc_score(labels, by_image):.3f}" in scored.words()

    def test_the_papers_protocol_is_plain_distances_weighted(self, washers, stuff):
        paper = PatchCore(**SMALL, protocol="paper").fit(washers.train, progress=silent)
        theirs = gather(washers, detector=paper, progress=silent)
        state = ScoreState(theirs)
        assert (state.squared, state.weighted) == (False, True)
        assert np.allclose(state.image_scores(), paper.score(washers.test, progress=silent).image, rtol=1e-5)

    def test_the_map_and_its_threshold(self, scored):
        scored.picture, scored.k, scored.squared, scored.sigma, scored.share = 10, 2, True, 8.0, 0.95
        grid = scored.patch_scores()
        assert np.allclose(scored.map(), anomaly_map(grid[10:11], 112, 8.0)[0])
        assert (grid < scored.threshold()).mean() == pytest.approx(0.95, abs=0.01)
        above = int((scored.map() > scored.threshold()).sum())
        assert f"on {above:,} pixels" in scored.words()

    def test_it_starts_at_the_worst_patch_of_the_first_defective_picture(self, stuff):
        state = ScoreState(stuff)
        assert stuff.test.samples[state.picture].defect != "good" and state.picture == stuff.labels().argmax()
        assert state.patch() == state.worst()

    def test_pointing_and_arrow_keys(self, stuff):
        view = ScoreExplorer(stuff)
        picture, heat, *_ = view.state.panels()
        picture.point(0.5, 0.25)
        assert view.state.place == (28, 56) and view.state.patch() == (3, 7)
        heat.step(2, -1)
        assert view.state.patch() == (2, 9) and "patch row 2, column 9" in view._words.text
        heat.step(-100, 100)
        assert view.state.patch() == (13, 0)

    def test_controls_do_what_they_say(self, stuff):
        view = ScoreExplorer(stuff)
        view._controls["k"].index = 4
        view._controls["squared"].value = False
        view._controls["weighted"].value = True
        view._controls["sigma"].index = 0
        view._controls["share"].index = 1
        view._controls["picture"].value = 2
        state = view.state
        assert (state.k, state.squared, state.weighted, state.sigma, state.share, state.picture) == (
            *(5, False, True, 0.0),
            *(0.8, 2),
        )
        assert "mean distance to the 5 nearest memory patches" in view._words.text and "is used" not in view._words.text
        assert view._words.text.count("from picture") == 5

    def test_arguments_reproduce_a_state(self, stuff):
        chosen = {
            "picture": 4,
            "place": (50, 60),
            "k": 3,
            "squared": False,
            "weighted": True,
            "sigma": 2.0,
            "share": 0.9,
        }
        one, other = ScoreExplorer(stuff, **chosen), ScoreExplorer(stuff)
        for trait, value in chosen.items():
            setattr(other.state, trait, value)
        assert one._words.text == other._words.text
        assert all(a.data == b.data for a, b in zip(one._pictures.values(), other._pictures.values(), strict=True))

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"picture": -1}, r"picture must lie in \[0, 13\], got -1"),
            ({"place": (112, 0)}, r"in \[0, 112\), got \(112, 0\)"),
            ({"k": 10}, r"k must lie in \[1, 9\], got 10"),
            ({"sigma": -1.0}, r"sigma must lie in \[0, 16.0\], got -1.0"),
            ({"share": 1.5}, r"share must lie in \[0, 1\], got 1.5"),
        ],
    )
    def test_states_out_of_range_are_refused(self, stuff, wrong, says):
        with pytest.raises(ValueError, match=says):
            ScoreState(stuff, **wrong)

    def test_without_a_memory_it_is_refused(self, stuff):
        bare = Material("bare", PatchCore(**SMALL), stuff.train, stuff.train_features, stuff.test, stuff.test_features)
        with pytest.raises(ValueError, match="has no memory"):
            ScoreState(bare)

    def test_a_small_bank_has_fewer_neighbours(self, washers):
        detector = PatchCore(**SMALL, coreset=0.02)
        few = gather(Category("few", washers.train[:2], washers.test), detector=detector, progress=silent)
        state = ScoreState(few)
        assert state.most == len(detector.bank) == 7
        with pytest.raises(ValueError, match=r"k must lie in \[1, 7\], got 8"):
            state.k = 8


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((47420.0, "47,400"), (5834.9, "5,830"), (999.9, "1,000"), (100.4, "100"), (99.96, "100")),
        *((99.4, "99.4"), (21.84, "21.8"), (0.01234, "0.0123"), (0.0, "0.00"), (-3.14159, "-3.14")),
    ],
)
def test_three_digits(value, text):
    assert short(value) == text


class TestPixels:
    def test_a_scale_runs_from_dark_to_bright_and_stops_at_its_ends(self):
        pixels = coloured(np.array([[-9.0, 0.0, 0.5, 1.0, 9.0]]), (0, 1))[0].astype(int).sum(1)
        assert pixels[0] == pixels[1] < pixels[2] < pixels[3] == pixels[4]
        assert coloured(np.ones((2, 2)), (1, 1)).shape == (2, 2, 3)  # a scale without width

    def test_stamps_stay_inside_and_keep_the_original(self):
        blank = np.zeros((9, 9, 3), np.uint8)
        drawn = stamped(blank, np.array([[0.0, 0.0], [4.0, 6.0]]), "#ff8000", 1)
        assert drawn[6, 4].tolist() == [255, 128, 0] and drawn[0, 0].tolist() == [255, 128, 0] and not blank.any()

    def test_a_mask_is_drawn_as_its_inner_edge(self):
        mask = np.zeros((9, 9), bool)
        mask[2:7, 2:7] = True
        drawn = outlined(np.zeros((9, 9, 3), np.uint8), mask, "#ffffff", 1)
        assert (drawn[..., 0] > 0).sum() == 16
        assert outlined(drawn, np.zeros((9, 9), bool), "#ffffff") is drawn

    def test_a_mosaic_goes_row_after_row(self):
        pictures = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (10, 20, 30)])
        sheet = mosaic(pictures, 2, 4)
        assert (sheet[0, 0, 0], sheet[0, 4, 0], sheet[4, 0, 0], sheet[4, 4, 0]) == (10, 20, 30, 255)

    def test_marks_differ_in_shape(self):
        blank = np.zeros((30, 30, 3), np.uint8)
        shapes = [
            getattr(Canvas(blank), mark)(15, 15, "#ffffff").pixels for mark in ("dot", "square", "ring", "diamond")
        ]
        assert len({shape.tobytes() for shape in shapes}) == 4


@pytest.mark.real
def test_a_real_category(real):
    few = gather(open_category(real / "bottle"), train=10, test=10, progress=silent)
    assert "of 209 training pictures" in few.note
    view = CoresetExplorer(few)
    assert "Image AUROC" in view._words.text and "image score" in ScoreExplorer(few)._words.text


def test_the_default_material_is_the_demos():
    assert isinstance(open_category("toybox/washer"), Toybox)
