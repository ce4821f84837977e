"""Explorers as people meet them: in JupyterLab, with a keyboard, a pointer, and what is read out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from pclib.coreset import greedy
from pclib.extraction import silent
from pclib.widgets import CoresetState
from pclib.widgets.state import Choose, Slide

from .seen import EXPLORERS, MATERIAL, Seen, eventually, expect, neighbour, state_of

pytestmark = pytest.mark.browser
ARROWS = {"ArrowRight": (1, 0), "ArrowDown": (0, 1), "ArrowLeft": (-1, 0), "ArrowUp": (0, -1)}


@pytest.fixture(scope="class", params=EXPLORERS)
def opened(request, lab, material, washers):
    """An explorer in a notebook, and a state in this process that is told to do the same."""
    source = EXPLORERS[request.param]
    notebook = lab.open(MATERIAL, source)
    yield Seen(notebook.page), state_of(source, material, washers)
    notebook.close()


class TestEveryExplorer:
    """The tests go on from where the one before them left the explorer."""

    def test_shows_what_its_state_says(self, opened):
        seen, state = opened
        seen.says(state)
        assert all(len(alt) > 10 for alt in seen.alts(state))

    def test_everything_that_can_be_touched_has_a_name(self, opened):
        seen, state = opened
        lines = seen.root.aria_snapshot().splitlines()
        roles = "slider|combobox|listbox|checkbox|application|button"
        touched = [line for line in lines if re.match(rf"\s*- '?({roles})\b", line)]
        assert [line for line in touched if not re.match(r"\s*- '?\w+ \"\S", line)] == []
        assert len(touched) >= len(state.controls()) + sum(panel.point is not None for panel in state.panels())

    def test_tab_goes_through_all_of_it_and_on(self, opened):
        seen, state = opened
        order = [seen.control(control) for control in state.controls()]
        order += [seen.answering(panel) for panel in state.panels() if panel.point]
        order[0].focus()
        for key, places in (("Tab", order), ("Shift+Tab", order[::-1])):
            for place in places:
                for _ in range(3):  # a table may lie between them
                    if not place.evaluate("e => e === document.activeElement"):
                        seen.page.keyboard.press(key)
                expect(place).to_be_focused()
            seen.page.keyboard.press(key)
            expect(places[-1]).not_to_be_focused()
            places[-1].focus()

    def test_keys_move_each_control_and_all_follows(self, opened):
        seen, state = opened
        for trait in [control.trait for control in state.controls()]:
            (control,) = (control for control in state.controls() if control.trait == trait)
            before, sources = {p.title: p.pixels for p in state.panels()}, seen.sources(state)
            key, value = neighbour(state, control)
            seen.control(control).focus()
            seen.page.keyboard.press(key)
            setattr(state, trait, value)
            seen.says(state)
            for panel in state.panels():
                if not np.array_equal(panel.pixels, before[panel.title]):
                    expect(seen.image(panel)).not_to_have_attribute("src", sources[panel.title])

    def test_arrow_keys_move_in_each_picture_that_answers(self, opened):
        seen, state = opened
        for title in [panel.title for panel in state.panels() if panel.point]:
            for key, step in ARROWS.items():
                (panel,) = (panel for panel in state.panels() if panel.title == title)
                seen.answering(panel).focus()
                seen.page.keyboard.press(key)
                panel.step(*step)
                seen.says(state)

    def test_pointing_moves_to_that_place(self, opened):
        seen, state = opened
        for title in [panel.title for panel in state.panels() if panel.point]:
            (panel,) = (panel for panel in state.panels() if panel.title == title)
            panel.point(*seen.point(panel, 0.37, 0.21))
            seen.says(state)
            expect(seen.answering(panel)).to_be_focused()

    def test_the_element_that_is_read_out_stays_the_same(self, opened):
        seen, state = opened
        element = seen.status.element_handle()
        control = next(control for control in state.controls() if isinstance(control, Choose | Slide))
        key, value = neighbour(state, control)
        seen.control(control).focus()
        seen.page.keyboard.press(key)
        setattr(state, control.trait, value)
        seen.says(state)
        assert element.evaluate("e => e.isConnected") and element.inner_text() == seen.words()
        assert seen.status.get_attribute("role") == "status" and seen.alert.inner_text() == ""


@pytest.fixture(scope="module")
def seen(lab):
    notebook = lab.open(MATERIAL, EXPLORERS["coreset"])
    yield Seen(notebook.page)
    notebook.close()


def said(seen: Seen, pattern: str) -> list[float]:
    """The numbers that a pattern finds in what is read out."""
    found = re.search(pattern, seen.words())
    assert found, seen.words()
    return [float(number.replace(",", "")) for number in found.groups()]


def test_a_coresets_numbers_are_those_of_the_patches_that_are_kept(seen, material):
    """Recomputed with plain distances, for more patches than at the start, another picture and another patch."""
    _, size, listed = map(seen.control, CoresetState(material).controls())
    size.focus()
    for _ in range(3):
        seen.page.keyboard.press("ArrowRight")
    listed.select_option("9:\xa0chip")
    sheet = CoresetState(material).panels()[0]
    seen.point(sheet, (1 + 5.5 / 14) / 6, (1 + 9.5 / 14) / 3)  # the eighth picture, column 5, row 9
    eventually(lambda: "The training patch of picture 7, row 9, column 5 is" in seen.words(), seen.words)
    patch = (7 * 14 + 9) * 14 + 5

    count = int(re.match(r"\d+", size.get_attribute("aria-valuetext"))[0])
    assert said(seen, r"greedy keeps (\d+) of ([\d,]+) patches") == [count, 3136]
    vectors, tested = material.train_features.reshape(-1, 1024), material.test_features.reshape(-1, 1024)
    kept = greedy(vectors, count, seed=0, progress=silent).indices
    radius = cdist(vectors, vectors[kept]).min(1).max()
    assert said(seen, r"Covering radius ([\d.]+):") == pytest.approx([radius], rel=5e-3)
    scores = cdist(tested, vectors[kept], "sqeuclidean").min(1).reshape(14, -1).max(1)
    assert said(seen, r"Test picture 9, chip: image score ([\d.,]+)\.") == pytest.approx([scores[9]], rel=5e-3)
    area = roc_auc_score(material.labels(), scores)
    assert said(seen, r"Image AUROC ([\d.]+) ") == pytest.approx([area], abs=6e-4)
    distances = cdist(vectors[[patch]], vectors[kept])[0]
    picture, cell = divmod(int(kept[distances.argmin()]), 14 * 14)
    found = said(seen, r"is covered by the one of picture (\d+), row (\d+), column (\d+), at distance ([\d.]+)\.$")
    assert found[:3] == [picture, *divmod(cell, 14)]
    assert found[3] == pytest.approx(distances.min(), rel=5e-3)


def test_a_drag_of_a_slider_ends_where_it_is_let_go(seen, material):
    size = seen.control(CoresetState(material).controls()[1])
    box = size.bounding_box()
    seen.page.mouse.move(box["x"] + 8, box["y"] + box["height"] / 2)
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] / 2, steps=30)
    seen.page.mouse.up()
    eventually(lambda: "keeps 313 of 3,136 patches (9.98 %)" in seen.words(), seen.words)
    assert size.get_attribute("aria-valuetext") == "313 (10 %)"


def test_a_table_is_sorted_and_asked_with_keys(lab, material, washers):
    notebook = lab.open(MATERIAL, EXPLORERS["tables"])
    seen, state = Seen(notebook.page), state_of(EXPLORERS["tables"], material, washers)
    grid, press = seen.root.get_by_role("grid"), seen.page.keyboard.press
    grid.get_by_role("gridcell").first.get_by_role("button").focus()
    press("ArrowUp")  # to the header
    column = state.grid()["columns"][0]["key"]
    press("Enter")
    state.sort = column
    seen.says(state)
    header = grid.get_by_role("columnheader").nth(1)
    expect(header).to_have_attribute("aria-sort", "descending")
    press("ArrowDown")
    press("Enter")
    row = state.grid()["rows"][0]
    state.cell = row["key"], column
    seen.says(state)
    first = grid.get_by_role("gridcell").first.get_by_role("button")
    expect(first).to_be_focused()
    expect(first).to_have_attribute("aria-pressed", "true")
    expect(grid.get_by_role("rowheader").first).to_have_text(row["key"])
    notebook.close()
