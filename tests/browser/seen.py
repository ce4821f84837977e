"""What a page shows of an explorer, and whether that is what a state in this process says."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from in_browser import PATIENCE, lacking
from suite import numbers

from pclib import widgets
from pclib.framing import Framing
from pclib.samples import Category
from pclib.widgets.state import Choose, Control, Panel, Several, Slide, State

from ..conftest import SMALL
from .conftest import give_up

try:
    from playwright.sync_api import Locator, Page, expect
except ModuleNotFoundError:
    give_up(lacking())

__all__ = ["EXPLORERS", "MATERIAL", "Seen", "eventually", "expect", "neighbour", "state_of"]
MATERIAL = f"""
from pclib import PatchCore, Toybox
from pclib.framing import Framing
from pclib.extraction import silent
from pclib.widgets import *

washers = Toybox("washer", train=16, good=6, defective=8, size=128)
material = gather(washers, detector=PatchCore(**{SMALL}), progress=silent)
"""
EXPLORERS = {
    "coreset": "CoresetExplorer(material)",
    "scores": "ScoreExplorer(material)",
    "features": f"FeatureExplorer(washers.test[:9:4], framing=Framing(**{SMALL}))",
    "metrics": "MetricExplorer(material.scores())",
    "tables": "TableExplorer()",
    "toybox": "ToyboxExplorer(size=96)",
}
ROLES = {Slide: "slider", Choose: "combobox", Several: "listbox"}


def state_of(explorer: str, material: widgets.Material, washers: Category) -> State:
    """The state of an explorer made by this expression."""
    names = {"material": material, "washers": washers, "Framing": Framing}
    return eval(explorer.replace("Explorer", "State"), vars(widgets) | names)


def eventually(true: Callable[[], bool], said: Callable[[], Any]) -> None:
    """Wait until something is true; fail with what is said at the end if it never is."""
    until = time.monotonic() + PATIENCE / 6
    while not true():
        assert time.monotonic() < until, said()
        time.sleep(0.02)


class Seen:
    """An explorer in a page, found by roles and names."""

    def __init__(self, page: Page) -> None:
        self.page, self.root = page, page.locator(".pclib-explorer").last

    @property
    def status(self) -> Locator:
        return self.root.get_by_role("status").last

    @property
    def alert(self) -> Locator:
        return self.root.get_by_role("alert")

    def control(self, control: Control) -> Locator:
        return self.root.get_by_role(ROLES.get(type(control), "checkbox"), name=control.label, exact=True)  # type: ignore[arg-type]

    def answering(self, panel: Panel) -> Locator:
        return self.root.get_by_role("application", name=re.compile(re.escape(panel.title)))

    def image(self, panel: Panel) -> Locator:
        return self.root.get_by_role("figure", name=panel.title, exact=True).get_by_role("img")

    def words(self) -> str:
        """What is read out."""
        return self.status.inner_text()

    def alts(self, state: State) -> list[str]:
        return [self.image(panel).get_attribute("alt") or "" for panel in state.panels()]

    def sources(self, state: State) -> dict[str, str]:
        return {panel.title: self.image(panel).get_attribute("src") or "" for panel in state.panels()}

    def says(self, state: State) -> None:
        """Fails unless words and text alternatives are, or soon become, those of the state."""
        expected = "\n".join([state.words(), *(panel.alt for panel in state.panels())])

        def found() -> str:
            return "\n".join([self.words(), *self.alts(state)])

        eventually(lambda: numbers.same(found(), expected), lambda: f"the page says\n{found()}\nand not\n{expected}")
        for control in state.controls():
            assert self.value(control) == shown(state, control)

    def value(self, control: Control) -> Any:
        """What a control says it stands at, in words; of a box whether it is ticked."""
        found = self.control(control)
        if isinstance(control, Slide):
            return found.get_attribute("aria-valuetext")
        if isinstance(control, Choose):
            chosen = found.evaluate("list => [...list.selectedOptions].map(option => option.textContent)")
            chosen = [words.replace("\xa0", " ") for words in chosen]
            return chosen if isinstance(control, Several) else chosen[0]
        return found.is_checked()

    def point(self, panel: Panel, across: float, down: float) -> tuple[float, float]:
        """Click into a picture, about at these shares of its size. Returns exactly which."""
        image = self.image(panel)
        image.scroll_into_view_if_needed()
        box = image.bounding_box()
        assert box is not None
        x, y = round(box["x"] + across * box["width"]), round(box["y"] + down * box["height"])
        self.page.mouse.click(x, y)
        return (x - box["x"]) / box["width"], (y - box["y"]) / box["height"]


def shown(state: State, control: Control) -> Any:
    """What a control of a state ought to say."""
    value = getattr(state, control.trait)
    if isinstance(control, Slide):
        return control.words(control.stops[widgets.state.nearest(control.stops, value)])
    if isinstance(control, Several):
        return [words for words, option in control.options.items() if option in value]
    if isinstance(control, Choose):
        return next(words for words, option in control.options.items() if option == value)
    return value


def neighbour(state: State, control: Control) -> tuple[str, Any]:
    """A key that moves a control, by one where it can be, and the value it then has."""
    value = getattr(state, control.trait)
    if isinstance(control, Several):
        return "Home", (next(iter(control.options.values())),)
    if isinstance(control, Slide):
        stops, forth, back = list(control.stops), "ArrowRight", "ArrowLeft"
        at = widgets.state.nearest(stops, value)
    elif isinstance(control, Choose):
        stops, forth, back = list(control.options.values()), "ArrowDown", "ArrowUp"
        at = stops.index(value)
    else:
        return "Space", not value
    return (forth, stops[at + 1]) if at + 1 < len(stops) else (back, stops[at - 1])
