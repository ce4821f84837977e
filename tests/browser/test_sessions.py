"""What happens to explorers over a session: something raises, a cell runs again and again, the kernel goes."""

from __future__ import annotations

import re

import pytest

from .seen import EXPLORERS, MATERIAL, Seen, eventually, expect

pytestmark = pytest.mark.browser

FRAGILE = """
import numpy as np
import traitlets
from pclib.widgets.explorer import Explorer
from pclib.widgets.state import Panel, Slide, State


class Fragile(State):
    pears = traitlets.Int(1)

    @traitlets.validate("pears")
    def _check(self, proposal):
        if proposal["value"] == 3:
            raise ValueError("three pears are one too many")
        return proposal["value"]

    def controls(self):
        return [Slide("pears", "Pears", range(9), "{} pears".format)]

    def panels(self):
        return [Panel("Pears", np.full((20, 20, 3), 9 * self.pears, np.uint8), f"{self.pears} pears", 60)]

    def words(self):
        return f"There are {self.pears} pears."


Explorer(Fragile())
"""
HELD = """
import gc
import matplotlib.pyplot as plt
import psutil
from ipywidgets.widgets.widget import _instances

gc.collect()
states = sum(type(thing) is CoresetState for thing in gc.get_objects())
held = psutil.Process().memory_info().rss // 10**6
print(f"{len(_instances)} widgets, {states} states, {len(plt.get_fignums())} figures, {held} MB")
"""


@pytest.fixture
def opened(lab):
    """Opens notebooks, and closes them when the test is over."""
    notebooks = []

    def open_one(*sources: str):
        notebooks.append(lab.open(*sources))
        return notebooks[-1]

    yield open_one
    for notebook in notebooks:
        notebook.close()


def test_what_is_raised_when_something_is_touched_is_read_out(opened):
    seen = Seen(opened(FRAGILE).page)
    pears = seen.root.get_by_role("slider", name="Pears")
    pears.focus()
    seen.page.keyboard.press("ArrowRight")
    expect(seen.status).to_have_text("There are 2 pears.")
    seen.page.keyboard.press("ArrowRight")
    expect(seen.alert).to_have_text("ValueError: three pears are one too many")
    expect(seen.status).to_have_text("There are 2 pears.")
    expect(pears).to_have_attribute("aria-valuetext", "2 pears")  # and it stands where it stood
    seen.page.keyboard.press("ArrowLeft")
    expect(seen.status).to_have_text("There are 1 pears.")
    expect(seen.alert).to_have_text("")


def test_an_explorer_says_that_its_kernel_is_gone(opened):
    notebook = opened(FRAGILE)
    seen = Seen(notebook.page)
    expect(seen.status).to_have_text("There are 1 pears.")
    notebook.choose("Kernel", "Restart Kernel…")
    notebook.page.get_by_role("button", name="Confirm Kernel Restart").click()
    expect(seen.alert).to_have_text("The kernel that answered here is gone. Run the cell again.")
    notebook.wait_for_kernel()


def test_fifty_runs_of_a_cell_hold_no_more_than_one(opened):
    notebook = opened(MATERIAL, EXPLORERS["coreset"], HELD)

    def held() -> list[int]:
        def numbers() -> list[int]:
            return [int(number) for number in re.findall(r"\d+", notebook.output(2))]

        notebook.run(2)
        eventually(lambda: len(numbers()) == 4, numbers)
        return numbers()

    def settled() -> list[int]:
        eventually(lambda: held()[1:3] == [1, 0], held)  # a closed one may still be preparing
        return held()

    for _ in range(10):
        notebook.run(1)
    widgets, *_, megabytes = settled()
    for _ in range(40):
        notebook.run(1)
    again, *_, later = settled()
    assert again == widgets and later < megabytes + 200
