"""Feature explorer: what a network holds at a place of a picture, what it saw for that, and what it takes for alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import traitlets
from scipy.spatial.distance import pdist
from torch import nn
from torch.fx import Node
from torch.fx.passes.shape_prop import ShapeProp

from pclib._checks import one_of
from pclib.backbones import LITE, Backbone, load_backbone
from pclib.extraction import silent
from pclib.framing import Box, Framing, read
from pclib.plots import MARK, OUTLINE
from pclib.samples import Sample
from pclib.widgets.explorer import Explorer
from pclib.widgets.pixels import Canvas, coloured, outlined, resized
from pclib.widgets.state import Choose, Control, Panel, Slide, State, listed, short

COLOURS = "colours"
STAGES = tuple(f"blocks.{i}" for i in range(7))  # of an EfficientNet
SIDE = 336  # page pixels of a picture or map: a whole number of them for each place of the usual grids
PAIRED = 60  # places of a picture whose distances set the scale
AT_A_TIME = 4  # images that go through the network together
FINDABLE = 12  # page pixels below which a cell gets a ring around it
DASH = 6  # page pixels

WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
PLACE_BY_PLACE = {  # modules, functions and methods that take no other place of a map into account
    *("Identity", "Dropout", "DropPath", "BatchNorm2d", "ReLU", "ReLU6", "SiLU", "GELU", "Hardswish"),
    *("Sigmoid", "Hardsigmoid", "add", "iadd", "mul", "cat", "relu", "sigmoid"),
}


class Reach(NamedTuple):
    """What places see along one axis: place i the pixels from `first + i * step` to `last + i * step`, both included.

    Pixels outside of the picture are padding.
    """

    step: float
    first: float
    last: float

    def through(self, kernel: int, stride: int, dilation: int, before: int) -> Reach:
        """What the places behind a window see, which has `before` places of padding on its left or upper side."""
        behind = (kernel - 1) * dilation - before
        return Reach(self.step * stride, self.first - before * self.step, self.last + behind * self.step)


PIXEL, EVERYTHING = Reach(1, 0, 0), Reach(0, -np.inf, np.inf)
Field = tuple[Reach, Reach]  # down, across


def receptive_fields(backbone: Backbone, crop: int) -> dict[str, Field]:
    """Each layer's receptive field in a square image of `crop` pixels, from kernels, strides and padding alone.

    Layers behind a pooling of the whole map see everything. Raises ValueError for a network with parts of which it is
    not known what they see.
    """
    parameter = next(backbone.network.parameters())
    ShapeProp(backbone.network).propagate(torch.zeros(1, 3, crop, crop).to(parameter))
    found: dict[Node, Field] = {}
    for node in backbone.network.graph.nodes:
        if node.op == "placeholder":
            found[node] = PIXEL, PIXEL
        elif node.op != "output":
            found[node] = _field(backbone, node, [found[source] for source in node.all_input_nodes])
    (maps,) = node.args  # the last node is the output
    return {layer: found[maps[layer]] for layer in backbone.layers}


def _field(backbone: Backbone, node: Node, sources: list[Field]) -> Field:
    """What the places of one operation's map see, given what those of its inputs see."""
    module = backbone.network.get_submodule(str(node.target)) if node.op == "call_module" else None
    name = type(module).__name__ if module else getattr(node.target, "__name__", str(node.target))
    if isinstance(module, WINDOWS):
        size = node.all_input_nodes[0].meta["tensor_meta"].shape[2:]
        down, across = (reach.through(*_window(module, axis, size[axis])) for axis, reach in enumerate(sources[0]))
        return down, across
    if name in PLACE_BY_PLACE and sources:
        down, across = (_together(reaches) for reaches in zip(*sources, strict=True))
        return down, across
    if name == "mean":
        return EVERYTHING, EVERYTHING
    raise ValueError(f"it is not known what {name} in {backbone.name} sees of a picture; choose another backbone")


def _together(reaches: Sequence[Reach]) -> Reach:
    steps, firsts, lasts = zip(*reaches, strict=True)
    return Reach(max(steps), min(firsts), max(lasts))


def _window(module: nn.Module, axis: int, size: int) -> tuple[int, int, int, int]:
    """Kernel, stride, dilation and padding before the first place, along an axis of `size` places."""
    kernel, stride, dilation = (_pair(getattr(module, part, 1))[axis] for part in ("kernel_size", "stride", "dilation"))
    padding = module.padding
    if padding == "same" or type(module).__name__.endswith("Same"):  # as TensorFlow pads: the odd one comes last
        return (
            kernel,
            stride,
            dilation,
            max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0) // 2,
        )
    return kernel, stride, dilation, 0 if padding == "valid" else _pair(padding)[axis]


def _pair(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple) else (value, value)


class FeatureState(State):
    """What a network holds of a few pictures.

    picture  which of them;  layer: whose map is shown
    view     "colours", for the three leading principal components of the map, or the number of a channel
    place    (row, column) of a pixel of the framed picture; what is shown belongs to the cell that it lies in
    """

    picture = traitlets.Int()
    layer = traitlets.Unicode()
    view = traitlets.Union([traitlets.Int(), traitlets.Unicode()], default_value=COLOURS)
    place: traitlets.Tuple = traitlets.Tuple(traitlets.Int(), traitlets.Int())

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        backbone: str | Backbone = LITE[0],
        layers: Sequence[str] | None = None,
        framing: Framing | None = None,
        **chosen: Any,
    ) -> None:
        if not samples:
            raise ValueError("no pictures to look at; give a few samples")
        self.backbone, self.framing = _opened(backbone, layers), framing or Framing()
        self.shapes = self.backbone.shapes(self.framing.crop)
        for layer, (_, *grid) in self.shapes.items():
            if grid == [1, 1]:
                raise ValueError(f"the map of {layer} has a single place, with no others to compare; choose others")
        self.fields = receptive_fields(self.backbone, self.framing.crop)
        self.pictures = read(samples, self.framing, progress=silent)
        self.maps = _maps(self.backbone, self.pictures.pixels)
        self._masks = [s.load_mask() for s in self.pictures.samples]
        self._scales = {layer: _scale(maps) for layer, maps in self.maps.items()}
        self._ranges = {layer: np.quantile(maps, (0.01, 0.99), axis=(0, 1, 2)) for layer, maps in self.maps.items()}
        self._coloured = lru_cache(maxsize=None)(lambda picture, layer: pca_colours(self.maps[layer][picture]))
        defaults = {"picture": 0, "layer": self.backbone.layers[len(self.backbone.layers) // 3], "place": (0, 0)}
        super().__init__(**defaults | chosen)
        if "place" not in chosen:
            self.place = self._striking()

    @traitlets.validate("picture")
    def _check_picture(self, proposal: Any) -> int:
        last = len(self.pictures.samples) - 1
        if not 0 <= proposal["value"] <= last:
            raise ValueError(f"picture must lie in [0, {last}], got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("layer")
    def _check_layer(self, proposal: Any) -> str:
        one_of("layer", proposal["value"], self.backbone.layers)
        return proposal["value"]

    @traitlets.validate("view")
    def _check_view(self, proposal: Any) -> int | str:
        one_of("layer", self.layer, self.backbone.layers)  # if they are set together, either may be checked first
        value, last = proposal["value"], self.shapes[self.layer][0] - 1
        if value != COLOURS and not (isinstance(value, int) and 0 <= value <= last):
            raise ValueError(f"view must be {COLOURS!r} or a channel of {self.layer} in [0, {last}], got {value!r}")
        return value

    @traitlets.validate("place")
    def _check_place(self, proposal: Any) -> tuple[int, int]:
        crop = self.framing.crop
        if not all(0 <= part < crop for part in proposal["value"]):
            raise ValueError(f"place must be a row and a column in [0, {crop}), got {proposal['value']}")
        return proposal["value"]

    @traitlets.observe("layer")
    def _keep_channel(self, _: Any) -> None:
        """A layer with fewer channels shows its last one."""
        if self.view != COLOURS:
            self.view = min(self.view, self.shapes[self.layer][0] - 1)

    def prepare(self) -> None:
        """Find the main directions of all maps."""
        for picture in range(len(self.pictures.samples)):
            for layer in self.backbone.layers:
                self._coloured(picture, layer)

    def map(self) -> np.ndarray:
        """(rows, columns, channels): the layer's map of the picture."""
        return self.maps[self.layer][self.picture]

    def grid(self) -> tuple[int, int]:
        """Rows and columns of the layer's map."""
        _, rows, columns = self.shapes[self.layer]
        return rows, columns

    def cell(self) -> tuple[int, int]:
        """Row and column on the grid of the place that is pointed at."""
        row, column = (part * cells // self.framing.crop for part, cells in zip(self.place, self.grid(), strict=True))
        return row, column

    def box(self) -> Box:
        """The pixels that the place stands for: those that, pointed at, choose it."""
        (top, bottom), (left, right) = (
            [-(-(i + end) * self.framing.crop // cells) for end in (0, 1)]
            for i, cells in zip(self.cell(), self.grid(), strict=True)
        )
        return Box(top, left, bottom, right)

    def field(self) -> Box:
        """The place's receptive field: the pixels that can have an influence on its vector."""
        (top, bottom), (left, right) = (
            (max(0, i * reach.step + reach.first), min(self.framing.crop, i * reach.step + reach.last + 1))
            for i, reach in zip(self.cell(), self.fields[self.layer], strict=True)
        )
        return Box(int(top), int(left), int(bottom), int(right))

    def distances(self) -> np.ndarray:
        """(rows, columns): Euclidean distance of each place's vector to that of the place pointed at."""
        return np.linalg.norm(self.map() - self.map()[self.cell()], axis=-1)

    def nearest_other(self) -> tuple[tuple[int, int], float]:
        """The place whose vector is nearest to that of the place pointed at, and its distance."""
        distances = self.distances()
        distances[self.cell()] = np.inf
        row, column = divmod(int(distances.argmin()), self.grid()[1])
        return (row, column), float(distances[row, column])

    def controls(self) -> list[Control]:
        layers = {f"{layer}: {r} x {c} places, {n} channels": layer for layer, (n, r, c) in self.shapes.items()}
        return [
            Choose("picture", "Picture", listed(self.pictures.samples)),
            Choose("layer", "Layer", layers),
            Slide("view", "Its map shows", [COLOURS, *range(self.shapes[self.layer][0])], _view),
        ]

    def words(self) -> str:
        (channels, rows, columns), (other, distance) = self.shapes[self.layer], self.nearest_other()
        half = float(np.median(self.distances()))
        return "\n".join(
            [
                f"{self.layer} of {self.backbone.name}: {channels} numbers at each of {rows} x {columns} places, "
                f"which are {self.fields[self.layer][0].step:g} pixels apart.",
                self._seen(),
                self._shown(),
                f"Nearest to the vector at {_at(self.cell())} is that at {_at(other)}: distance {short(distance)}. "
                f"Half of all places are farther than {short(half)}.",
            ]
        )

    def panels(self) -> list[Panel]:
        sample, (rows, columns), cell = self.pictures.samples[self.picture], self.grid(), _at(self.cell())
        other, distance = self.nearest_other()
        distances, scale = self.distances(), self._scales[self.layer]
        panels = [
            (
                "Picture: a place (solid) and what it sees (dashed)",
                self._marked_picture(),
                f"Picture {self.picture} ({_kind(sample)}), defect outlined if known. The place at {cell} stands for "
                f"pixel {_extent(self.box())}; its receptive field is {_extent(self.field())}",
            ),
            (
                "The layer's map",
                self._marked(self._enlarged()),
                f"Map of {self.layer}, {rows} x {columns} places. {self._shown()} The place at {cell} is framed",
            ),
            (
                "Distance from that place (bright: near)",
                self._marked(_blocks(coloured(distances, (scale, 0))), other),
                f"Distances to the vector at {cell}, from bright, 0, to black, {short(scale)} or more. Nearest, with a "
                f"diamond: {_at(other)}, at {short(distance)}; farthest at {short(float(distances.max()))}",
            ),
        ]
        return [Panel(*panel, SIDE, photo=True, point=self._point, step=self._step) for panel in panels]

    def _seen(self) -> str:
        (down, across), (row, column), field = self.fields[self.layer], self.cell(), self.field()
        stands = f"The place at {_at((row, column))} stands for {_extent(self.box())} of the picture. It sees"
        if not np.isfinite([*down, *across]).all():
            return f"{stands} the whole picture, because a part of the network pools all of it."
        high, wide = down.last - down.first + 1, across.last - across.first + 1
        middle = row * down.step + (down.first + down.last) / 2, column * across.step + (across.first + across.last) / 2
        cut = (high, wide) != (field.bottom - field.top, field.right - field.left)
        return (
            f"{stands} {high:.0f} x {wide:.0f} pixels around row {middle[0]:g}, column {middle[1]:g}: "
            f"{_extent(field)}{', and padding beyond the border' if cut else ''}."
        )

    def _shown(self) -> str:
        if self.view == COLOURS:
            share = self._coloured(self.picture, self.layer)[1]
            return f"The map's colours are its three main directions, with {100 * share:.0f} % of its variance."
        low, high = self._ranges[self.layer][:, self.view]
        value = float(self.map()[(*self.cell(), self.view)])
        return (
            f"Channel {self.view} is {short(value)} at this place; dark blue is {short(low)}, yellow {short(high)}, "
            "between which 98 % of its values in all these pictures lie."
        )

    def _striking(self) -> tuple[int, int]:
        """A pixel of the picture's defect, or the middle."""
        mask = self._masks[self.picture]
        defect = np.argwhere(self.framing.mask(mask)) if mask is not None else np.empty((0, 2))
        row, column = defect[len(defect) // 2] if len(defect) else (self.framing.crop // 2, self.framing.crop // 2)
        return int(row), int(column)

    def _enlarged(self) -> np.ndarray:
        """The map as blocks, SIDE pixels wide."""
        if self.view == COLOURS:
            return _blocks((255 * self._coloured(self.picture, self.layer)[0]).round().astype(np.uint8))
        low, high = self._ranges[self.layer][:, self.view]
        return _blocks(coloured(self.map()[..., self.view], (low, high), "cividis"))

    def _marked_picture(self) -> np.ndarray:
        pixels, mask = self.pictures.pixels[self.picture], self._masks[self.picture]
        drawn = pixels if mask is None else outlined(pixels, self.framing.mask(mask), OUTLINE, 1)
        canvas = Canvas(resized(drawn, SIDE, SIDE), SIDE / self.framing.crop)
        _dashed(canvas, self.field(), DASH * self.framing.crop / SIDE)
        return self._framed(canvas).pixels

    def _marked(self, pixels: np.ndarray, other: tuple[int, int] | None = None) -> np.ndarray:
        canvas = self._framed(Canvas(pixels, SIDE / self.framing.crop))
        if other:
            row, column = self._pixel_of(other)
            canvas.diamond(column, row)
        return canvas.pixels

    def _framed(self, canvas: Canvas) -> Canvas:
        """With the cell framed; a small one is ringed, too."""
        box = self.box()
        canvas.box(box)
        if (box.right - box.left) * SIDE / self.framing.crop < FINDABLE:
            canvas.ring((box.left + box.right) / 2, (box.top + box.bottom) / 2, MARK, FINDABLE)
        return canvas

    def _pixel_of(self, cell: tuple[int, int]) -> tuple[int, int]:
        """The pixel in the middle of a cell."""
        row, column = (int((part + 0.5) * self.framing.crop / n) for part, n in zip(cell, self.grid(), strict=True))
        return row, column

    def _point(self, x: float, y: float) -> None:
        self.place = int(y * self.framing.crop), int(x * self.framing.crop)

    def _step(self, across: int, down: int) -> None:
        (row, column), (rows, columns) = self.cell(), self.grid()
        self.place = self._pixel_of((min(max(row + down, 0), rows - 1), min(max(column + across, 0), columns - 1)))


class FeatureExplorer(Explorer):
    """What a network sees in a picture: point at a place, and find what it is alike to, layer by layer.

    Takes what `FeatureState` takes: samples, a backbone, its layers, a framing, and what to start with.
    """

    def __init__(self, samples: Sequence[Sample], **chosen: Any) -> None:
        super().__init__(FeatureState(samples, **chosen))


def pca_colours(features: np.ndarray) -> tuple[np.ndarray, float]:
    """(rows, columns, channels) to (rows, columns, 3) in [0, 1], and the share of the variance that they show.

    Red, green and blue are the three leading principal components, from the 1st to the 99th percentile of each.
    """
    rows, columns, channels = features.shape
    centred = features.reshape(-1, channels) - features.mean((0, 1))
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    leading = directions[:3]
    leading *= np.sign(leading[np.arange(len(leading)), np.abs(leading).argmax(1)])[:, None]  # a sign is a convention
    shown = np.zeros((rows * columns, 3), np.float32)  # of fewer channels, the other colours stay dark
    shown[:, : len(leading)] = centred @ leading.T
    low, high = np.quantile(shown, (0.01, 0.99), axis=0)
    colours = np.clip((shown - low) / np.where(high > low, high - low, 1), 0, 1).reshape(rows, columns, 3)
    squared = spread.astype(float) ** 2
    return colours, float(squared[:3].sum() / (squared.sum() or 1))


def _opened(backbone: str | Backbone, layers: Sequence[str] | None) -> Backbone:
    if isinstance(backbone, Backbone):
        if layers is not None:
            raise ValueError("layers are those of the backbone that was given; name them when you make it")
        return backbone
    return load_backbone(backbone, STAGES if layers is None and "efficientnet" in backbone else layers)


def _maps(backbone: Backbone, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Layer to (n, rows, columns, channels)."""
    starts = range(0, len(pixels), AT_A_TIME)
    with torch.inference_mode():
        parts = [backbone(backbone.normalised(pixels[start : start + AT_A_TIME])) for start in starts]
    return {
        layer: torch.cat([part[layer] for part in parts]).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        for layer in backbone.layers
    }


def _scale(maps: np.ndarray) -> float:
    """What nearly all distances within pictures lie below."""
    vectors = maps.reshape(len(maps), -1, maps.shape[-1])
    return float(np.quantile([pdist(some[:: -(-len(some) // PAIRED)]) for some in vectors], 0.99))


def _blocks(pixels: np.ndarray) -> np.ndarray:
    return resized(pixels, SIDE, SIDE, smooth=False)


def _dashed(canvas: Canvas, box: Box, dash: float) -> None:
    """The outline of a box, dashes on a dark line; `dash` is in the canvas's coordinates."""
    right, bottom = box.right - dash / DASH, box.bottom - dash / DASH  # the last line of pixels inside
    canvas.line(
        [(box.left, box.top), (right, box.top), (right, bottom), (box.left, bottom), (box.left, box.top)], width=3
    )
    for x in np.arange(box.left, right, 2 * dash):
        for y in (box.top, bottom):
            canvas.line([(x, y), (min(x + dash, right), y)], MARK)
    for y in np.arange(box.top, bottom, 2 * dash):
        for x in (box.left, right):
            canvas.line([(x, y), (x, min(y + dash, bottom))], MARK)


def _at(cell: tuple[int, int]) -> str:
    return f"row {cell[0]}, column {cell[1]}"


def _extent(box: Box) -> str:
    return f"rows {box.top} to {box.bottom - 1}, columns {box.left} to {box.right - 1}"


def _kind(sample: Sample) -> str:
    return sample.defect or "unknown"


def _view(view: int | str) -> str:
    return "main directions" if view == COLOURS else f"channel {view}"
