"""From a state to what people touch: one view for all explorers, and the figure that stands in where no kernel runs."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from threading import Timer
from typing import Any

import numpy as np
from ipywidgets import Checkbox, Dropdown, HBox, Layout, SelectMultiple, VBox, Widget
from PIL import Image
from threadpoolctl import ThreadpoolController

from pclib.widgets.elements import Picture, Slider, Words
from pclib.widgets.state import Choose, Control, Panel, Several, Slide, State, nearest

SETTLED = 1.0  # seconds after which the page has drawn what it was given
WRAPPED = {"flex_flow": "row wrap", "align_items": "flex-start"}


def encoded(pixels: np.ndarray) -> bytes:
    """Pixels (h, w, 3) uint8 as JPEG: charts too, because as PNG they would take four times as long."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=90, subsampling=0)
    return file.getvalue()


@dataclass(frozen=True, eq=False)
class Still:
    """An explorer that does not move: its tables (HTML), its pictures with their text alternatives, and its words."""

    panels: list[Panel] = field(repr=False)
    words: str
    tables: str = field(default="", repr=False)

    def __repr__(self) -> str:
        return self.words

    def _repr_html_(self) -> str:
        pictures = "".join(map(_figure, self.panels))
        note = "Run the notebook to move it."
        words = f"<figcaption>{_lines(self.words)}<br><em>{note}</em></figcaption>"
        return f"<figure>{self.tables}{pictures}{words}</figure>"


def _figure(panel: Panel) -> str:
    file, image = io.BytesIO(), Image.fromarray(panel.pixels)
    if panel.photo:
        image.save(file, "jpeg", quality=85, optimize=True)
    else:
        image.quantize(64, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    data, kind = base64.b64encode(file.getvalue()).decode(), "jpeg" if panel.photo else "png"
    return (
        '<figure style="display: inline-block; vertical-align: top; margin: 4px">'
        f"<figcaption>{html.escape(panel.title)}</figcaption>"
        f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(panel.alt, quote=True)}" width="{panel.width}">'
        "</figure>"
    )


def _lines(words: str) -> str:
    return html.escape(words).replace("\n", "<br>")


class Explorer(VBox):
    """A state that can be touched. `explorer.state` holds what is chosen; setting it in code moves the controls too.

    Shown where no kernel runs, it is a figure with its words; `figure()` gives that figure. Running a cell again closes
    the explorers that the cell made before. What goes wrong when something is touched is said below the words, and
    raised.
    """

    _state: State | None = None  # a widget that could not be made is closed, too

    def __init__(self, state: State) -> None:
        super().__init__()
        self._state = state
        self._following = False
        self._later: Timer | None = None  # what need not be there at once
        self._words = Words()
        self._controls: dict[str, Widget] = {}
        self._pictures: dict[str, Picture] = {}
        self._shown: dict[str, np.ndarray] = {}
        self._panels: dict[str, Panel] = {}
        self._stepped: dict[str, tuple[int, int]] = {}
        self._refresh()
        controls = HBox(list(self._controls.values()), layout=Layout(**WRAPPED, grid_gap="2px 16px"))
        pictures = HBox(list(self._pictures.values()), layout=Layout(**WRAPPED, grid_gap="8px 12px"))
        self.children = [controls, self._words, pictures]
        self.add_class("pclib-explorer")
        state.observe(self._changed)
        _close_earlier(self)

    @property
    def state(self) -> Any:
        """What is chosen. Raises RuntimeError once the explorer is closed."""
        if self._state is None:
            raise RuntimeError("this explorer was closed, because its cell ran again; use the new one")
        return self._state

    def figure(self) -> Still:
        """What is shown now, as a figure that does not move."""
        return Still(self.state.panels(), self.state.words())

    def close(self) -> None:
        """Let go of the state, and of everything in the page."""
        if self._state is None:
            return
        if self._later is not None:
            self._later.cancel()
            self._later = None  # it knows the state
        self._state.unobserve_all()
        self._state = None
        self._panels, self._shown = {}, {}
        _close_all(self.children)
        self.layout.close()
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        still = self.figure()
        if self._later is None:
            self._later = Timer(SETTLED, self.state.prepare)
            self._later.daemon = True
            self._later.start()
        bundle = dict(super()._repr_mimebundle_(**kwargs) or {})
        return bundle | {"text/plain": still.words, "text/html": still._repr_html_()}

    def _changed(self, _: Any = None) -> None:
        self._guarded(self._refresh)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do what was asked for; if it fails, say so in the page, and raise."""
        try:
            with _threads().limit(limits=1):  # idle threads would wait busily, on cores that the page needs
                work()
        except Exception as error:
            self._words.trouble = f"{type(error).__name__}: {error}"
            self._follow_controls()
            raise
        self._words.trouble = ""

    def _refresh(self) -> None:
        self._follow_controls()
        for panel in self.state.panels():
            self._panels[panel.title] = panel
            if panel.title not in self._pictures:
                self._pictures[panel.title] = self._picture(panel)
            self._paint(self._pictures[panel.title], panel)
        self._words.text = self.state.words()

    def _paint(self, picture: Picture, panel: Panel) -> None:
        before = self._shown.get(panel.title)
        with picture.hold_sync():
            picture.alt = panel.alt
            if before is None or not np.array_equal(before, panel.pixels):
                self._shown[panel.title] = panel.pixels
                picture.data = encoded(panel.pixels)

    def _picture(self, panel: Panel) -> Picture:
        picture = Picture(title=panel.title, width=panel.width, answers=panel.point is not None)

        def pointed(change: Any) -> None:
            point = self._panels[panel.title].point
            if point is not None:
                self._guarded(lambda: point(*change["new"]))

        def stepped(change: Any) -> None:
            step = self._panels[panel.title].step
            if step is not None:
                across, down = (new - old for new, old in zip(change["new"], change["old"], strict=True))
                self._guarded(lambda: step(across, down))

        picture.observe(pointed, "pointed")
        picture.observe(stepped, "stepped")
        return picture

    def _follow_controls(self) -> None:
        """Make controls say what the state is."""
        self._following = True  # and not the state what they say meanwhile
        try:
            for control in self.state.controls():
                if control.trait not in self._controls:
                    self._controls[control.trait] = self._control(control)
                _follow(self._controls[control.trait], control, getattr(self.state, control.trait))
        finally:
            self._following = False

    def _control(self, control: Control) -> Widget:
        if isinstance(control, Slide):
            slider = Slider(label=control.label)
            slider.observe(lambda change: self._chosen(control.trait, change["new"]), "index")
            return slider
        widget: Widget
        if isinstance(control, Several):
            widget = SelectMultiple(description=control.label, layout=Layout(width="auto"))
        elif isinstance(control, Choose):
            widget = Dropdown(description=control.label, layout=Layout(width="auto"))
        else:
            widget = Checkbox(description=control.label, indent=False, layout=Layout(width="auto"))
        widget.style.description_width = "initial"
        widget.observe(lambda change: self._chosen(control.trait, change["new"]), "value")
        return widget

    def _chosen(self, trait: str, chosen: Any) -> None:
        """Somebody touched the control of this trait: it now stands at this value, or at the stop of this index."""
        if self._following:
            return
        (control,) = (c for c in self.state.controls() if c.trait == trait)
        value = control.stops[chosen] if isinstance(control, Slide) else chosen
        self._guarded(lambda: setattr(self.state, trait, value))


@cache
def _threads() -> ThreadpoolController:
    """Found once: looking for all libraries with threads of their own takes milliseconds."""
    return ThreadpoolController()


def _follow(widget: Widget, control: Control, value: Any) -> None:
    """Make a control stand at a value: options first, then the chosen one."""
    if isinstance(control, Slide):
        with widget.hold_sync():
            widget.stops = [control.words(stop) for stop in control.stops]
            widget.index = nearest(control.stops, value)
        return
    if isinstance(control, Choose) and dict(widget.options) != control.options:
        widget.options = list(control.options.items())
    widget.value = value


def _close_all(widgets: Iterable[Widget]) -> None:
    """Close widgets with their children, and the layouts and styles that ipywidgets keeps for each."""
    for widget in widgets:
        _close_all(getattr(widget, "children", ()))
        widget.unobserve_all()
        for part in ("layout", "style"):
            if hasattr(widget, part):
                getattr(widget, part).close()
        widget.close()


_made: dict[str, tuple[int, list[Explorer]]] = {}


def _close_earlier(explorer: Explorer) -> None:
    """Close the explorers that an earlier run of the same cell made: the page no longer shows them."""
    run = _this_run()
    if run is None:
        return
    cell, count = run
    before, explorers = _made.get(cell, (count, []))
    if before != count:
        for old in explorers:
            old.close()
        explorers = []
    _made[cell] = (count, [*explorers, explorer])


def _this_run() -> tuple[str, int] | None:
    """The cell that runs, and which run of the session this is; None outside of a notebook that names its cells."""
    from IPython import get_ipython

    shell = get_ipython()
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell = parent.get("metadata", {}).get("cellId")
    return None if shell is None or not cell else (cell, shell.execution_count)
