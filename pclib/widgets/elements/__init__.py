"""What explorers are made of beyond ipywidgets' own controls: elements that have names, texts and keys.

ipywidgets' sliders have no accessible name, its images no text alternative and no way to point into them. A few lines
of JavaScript each, carried by anywidget, so that JupyterLab and Voilà show them without an extension of our own.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

_HERE = Path(__file__).parent
_STYLE = (_HERE / "elements.css").read_text(encoding="utf-8")


def _script(name: str) -> str:
    return (_HERE / f"{name}.js").read_text(encoding="utf-8")


class Picture(anywidget.AnyWidget):
    """A picture, a JPEG file, with a caption and a text alternative.

    pointed  where it was last pointed at: shares of its width and height, in [0, 1)
    stepped  how often the arrow keys went right (less left) and down (less up), since it was made
    """

    _esm, _css = _script("picture"), _STYLE
    data = traitlets.Bytes().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)
    width = traitlets.Int(300).tag(sync=True)  # pixels of the page
    answers = traitlets.Bool(False).tag(sync=True)
    pointed: traitlets.List = traitlets.List([]).tag(sync=True)
    stepped = traitlets.List([0, 0]).tag(sync=True)


class Slider(anywidget.AnyWidget):
    """A slider over stops, each given in words; `index` is the one it stands at."""

    _esm, _css = _script("slider"), _STYLE
    label = traitlets.Unicode().tag(sync=True)
    stops = traitlets.List(traitlets.Unicode()).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)


class Words(anywidget.AnyWidget):
    """A text that is read out when it changes, and below it what went wrong."""

    _esm, _css = _script("words"), _STYLE
    text = traitlets.Unicode().tag(sync=True)
    trouble = traitlets.Unicode().tag(sync=True)


class Grid(anywidget.AnyWidget):
    """A table of numbers whose columns can be sorted by and whose cells can be chosen.

    table    caption; columns with key, label and sort (as aria-sort); rows with key and cells: text, name, and whether
             it is the best of its column
    chosen   keys of the row and the column of the cell that is chosen; [] for none
    picked   keys of the row and the column of the cell that was last pressed, and how many were;
             pressed: the same of headers, key of the column
    """

    _esm, _css = _script("grid"), _STYLE
    table: traitlets.Dict = traitlets.Dict().tag(sync=True)
    chosen: traitlets.List = traitlets.List([]).tag(sync=True)
    picked: traitlets.List = traitlets.List([]).tag(sync=True)
    pressed: traitlets.List = traitlets.List([]).tag(sync=True)
