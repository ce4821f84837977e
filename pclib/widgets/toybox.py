"""Toybox explorer: every knob, and what it does to a picture, to its defect and to its mask."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import traitlets

from pclib._checks import at_least, counted, one_of, percent
from pclib.plots import ORANGE
from pclib.samples import GOOD
from pclib.toybox import CATEGORIES, NAMES, DrawnSample, Flaw, Toybox, _overlay
from pclib.toybox.drawing import Overlay, Picture, develop
from pclib.toybox.knobs import Knobs
from pclib.widgets.explorer import Explorer
from pclib.widgets.pixels import Canvas, coloured, resized, rgb
from pclib.widgets.state import Choose, Control, Panel, Slide, State

STEPS = {
    "defect_size": 0.25,
    "contrast": 0.05,
    "number": 1,
    "jitter": 0.25,
    "lighting": 0.25,
    "noise": 0.5,
    "irregularity": 0.25,
    "mislabelled": 0.05,
}
SEEDS = range(20)
SIZE = 256  # pixels of a picture, as the toybox draws them by default
SIDE = 256  # page pixels that it takes
LIGHT = 232  # grey level around the mask: on a white page its border shows
LEVELS = 100  # grey levels of a change that are drawn brightest
NAMED = 6  # flaws that are named one by one
KEPT = 4  # pictures and overlays that stay in memory
ON_THE_DEFECT = ("defect_size", "number")  # knobs that leave the picture without its defect as it is
IN_THE_CAMERA = ("contrast", "noise")  # those that change nothing before it is photographed
DEFAULT = Knobs()


@dataclass(frozen=True)
class Kept(DrawnSample):
    """A drawn sample whose drawing is kept in parts, so that a knob paints again only what it changes."""

    def _drawn(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _developed(self)

    def without(self, *knobs: str) -> Kept:
        """The same with these knobs at their default."""
        return replace(self, knobs=replace(self.knobs, **{name: getattr(DEFAULT, name) for name in knobs}))


@lru_cache
def _tested(category: str) -> list[DrawnSample]:
    """The test pictures of a category, knobs not turned."""
    return list(Toybox(category).test)


@lru_cache(KEPT)
def _painted(sample: Kept) -> Picture:
    rng = np.random.default_rng([*sample._key(), 0])
    return CATEGORIES[sample.category].draw(rng, sample.pixels, sample.knobs, sample.name.startswith("train/"))


@lru_cache(KEPT)
def _begun(sample: Kept) -> tuple[list[Overlay], np.random.Generator]:
    """Defects drawn so far, and the generator of those to come."""
    return [], np.random.default_rng([*sample._key(), 1])


def _overlays(sample: Kept) -> list[Overlay]:
    recipe, (drawn, rng) = CATEGORIES[sample.category], _begun(sample.without("number"))
    picture = replace(_painted(sample.without(*ON_THE_DEFECT)), knobs=sample.knobs)
    while len(drawn) < sample.knobs.number:
        drawn.append(_overlay(recipe, sample.truth, picture, rng))
    return drawn[: sample.knobs.number]


@lru_cache(KEPT)
def _flaws(sample: Kept) -> list[Flaw]:
    return sample.flaws()


@lru_cache(KEPT)
def _developed(sample: Kept) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    before = sample.without(*IN_THE_CAMERA)
    picture = replace(_painted(before.without(*ON_THE_DEFECT)), knobs=sample.knobs)
    overlays = [] if sample.truth == GOOD else _overlays(before)
    return develop(picture, overlays, np.random.default_rng([*sample._key(), 2]))


class ToyboxState(State):
    """A test picture of an embedded category, and how its knobs are turned.

    category  one of the embedded ones;  kind: of defect, or "good";  index: which of the pictures of that kind
    seed      of all pictures;  the others are the knobs of `pclib.toybox.knobs.Knobs`
    """

    category = traitlets.Unicode("washer")
    kind = traitlets.Unicode()
    index = traitlets.Int(0)
    seed = traitlets.Int(0)
    defect_size = traitlets.Float(DEFAULT.defect_size)
    contrast = traitlets.Float(DEFAULT.contrast)
    number = traitlets.Int(DEFAULT.number)
    jitter = traitlets.Float(DEFAULT.jitter)
    lighting = traitlets.Float(DEFAULT.lighting)
    noise = traitlets.Float(DEFAULT.noise)
    irregularity = traitlets.Float(DEFAULT.irregularity)
    mislabelled = traitlets.Float(DEFAULT.mislabelled)

    def __init__(
        self,
        category: str = "washer",
        *,
        kind: str | None = None,
        index: int = 0,
        seed: int = 0,
        size: int = SIZE,
        **knobs: Any,
    ) -> None:
        Toybox(category, seed=seed, size=size, **knobs)  # refuses names, knobs and sizes that there are not
        self.size = size
        kind = kind or next(iter(CATEGORIES[category].defects))
        super().__init__(category=category, kind=kind, index=index, seed=seed, **knobs)

    @traitlets.validate("category")
    def _check_category(self, proposal: Any) -> str:
        one_of("category", proposal["value"], NAMES)
        return proposal["value"]

    @traitlets.validate("kind")
    def _check_kind(self, proposal: Any) -> str:
        self._refuse_unknown_kind(proposal["value"])
        return proposal["value"]

    @traitlets.validate("index")
    def _check_index(self, proposal: Any) -> int:
        self._refuse_unknown_kind(self.kind)  # of those that are set together, which is checked first is not known
        last = len(self._positions()) - 1
        if not 0 <= proposal["value"] <= last:
            raise ValueError(f"index of {self.kind} must lie in [0, {last}], got {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("seed")
    def _check_seed(self, proposal: Any) -> int:
        return at_least("seed", proposal["value"], 0)

    @traitlets.validate(*STEPS)
    def _check_knob(self, proposal: Any) -> float:
        name = proposal["trait"].name
        return getattr(Knobs.turned(**{name: proposal["value"]}), name)

    @traitlets.observe("category", "kind")
    def _keep_within(self, _: Any) -> None:
        """A category that lacks the kind shows its first one; a kind with fewer pictures shows its last one."""
        with self.hold_trait_notifications():
            if self.kind not in self.kinds():
                self.kind = self.kinds()[1]
            self.index = min(self.index, len(self._positions()) - 1)

    def kinds(self) -> list[str]:
        """What the category's test pictures can be: good, or a kind of defect."""
        return [GOOD, *CATEGORIES[self.category].defects]

    def knobs(self) -> Knobs:
        """How the knobs are turned."""
        return Knobs(**{name: getattr(self, name) for name in STEPS})

    def sample(self) -> Kept:
        """The picture that is shown."""
        knobs = replace(self.knobs(), mislabelled=0.0)  # which concerns training pictures alone
        plain = vars(_tested(self.category)[self._position()])
        return Kept(**plain | {"pixels": self.size, "seed": self.seed, "knobs": knobs})

    def flaws(self) -> list[Flaw]:
        """The connected regions of its defect, top to bottom."""
        return _flaws(self.sample())

    def line(self) -> str:
        """The picture as an expression in Python."""
        chosen = ({"size": self.size} if self.size != SIZE else {}) | ({"seed": self.seed} if self.seed else {})
        arguments = [f"{name}={value!r}" for name, value in (self.knobs().changed() | chosen).items()]
        return f"pclib.Toybox({', '.join([repr(self.category), *arguments])}).test[{self._position()}]"

    def controls(self) -> list[Control]:
        count = len(self._positions())
        return [
            Choose("category", "Category", {name: name for name in NAMES}),
            Choose("kind", "Shows", {kind.replace("_", " "): kind for kind in self.kinds()}),
            Slide("index", "Which", range(count), lambda i: f"{i + 1} of {count}"),
            Slide("seed", "Seed", sorted({*SEEDS, self.seed})),
            *(Slide(name, name.replace("_", " ").capitalize(), self._stops(name), _worded(name)) for name in STEPS),
        ]

    def words(self) -> str:
        meanings, turned = Knobs.meanings(), []
        for name, value in self.knobs().changed().items():
            say = _worded(name)
            turned.append(f"{name} {say(value)} (default {say(getattr(DEFAULT, name))}): {meanings[name]}.")
        lines = [
            f"{self.category}: {CATEGORIES[self.category].title}. {self._what()}",
            *(turned or ["All knobs stand at their default."]),
            self._mislabelled(),
            self._found(),
            f"This picture is {self.line()}",
        ]
        return "\n".join(line for line in lines if line)

    def panels(self) -> list[Panel]:
        sample, flaws = self.sample(), self.flaws()
        picture, clean, mask = np.asarray(sample.load()), np.asarray(sample.clean()), sample.load_mask()
        change = np.abs(picture.astype(float) - clean).mean(-1)
        kind = self.kind.replace("_", " ")
        area = int(mask.sum())
        panels = [
            ("Picture", self._shown(picture), f"{self.category}, {kind}, picture {self.index}, seed {self.seed}"),
            (
                "The same without its defect",
                self._shown(clean),
                f"The same {self.category} under the same light and noise, with nothing painted over it",
            ),
            (
                "Its mask, with the pixels of each region",
                self._marked(mask),
                f"Mask: {area:,} of {mask.size:,} pixels in {counted(len(flaws), 'region')}",
            ),
            (
                f"What the defect changes (black 0, bright {LEVELS} grey levels)",
                self._shown(coloured(change, (0, LEVELS))),
                f"Change by the defect: up to {change.max():.0f} of 255 grey levels"
                + (f", {change[mask].mean():.0f} on average where the mask is" if area else ""),
            ),
        ]
        return [Panel(*panel, SIDE, photo=True) for panel in panels]

    def _refuse_unknown_kind(self, kind: str) -> None:
        one_of(f"kind of {self.category}", kind, self.kinds())

    def _positions(self) -> list[int]:
        """Where the pictures of the kind stand among a category's test pictures."""
        return [i for i, sample in enumerate(_tested(self.category)) if sample.defect == self.kind]

    def _position(self) -> int:
        return self._positions()[self.index]

    def _stops(self, name: str) -> list[float]:
        """A knob's stops, and where it stands now."""
        low, high = Knobs.ranges()[name]
        whole = type(getattr(DEFAULT, name))
        steps = np.arange(round((high - low) / STEPS[name]) + 1)
        return sorted({*(whole(round(low + step * STEPS[name], 9)) for step in steps), getattr(self, name)})

    def _what(self) -> str:
        if self.kind == GOOD:
            return "A good picture: nothing is painted over it."
        what = (inspect.getdoc(CATEGORIES[self.category].defects[self.kind]) or "").splitlines()[0]
        return f"{self.kind.replace('_', ' ').capitalize()}: {what}"

    def _mislabelled(self) -> str:
        if not self.mislabelled:
            return ""
        train = Toybox(self.category, seed=self.seed, mislabelled=self.mislabelled).train
        wrong = sum(sample.truth != GOOD for sample in train)
        return f"{wrong} of {len(train)} training pictures are defective and labelled good; this test picture stays."

    def _found(self) -> str:
        flaws = sorted(self.flaws(), key=lambda flaw: -flaw.size)
        if not flaws:
            return "Its mask is empty."
        named = "; ".join(
            f"{counted(flaw.size, 'pixel')} around row {flaw.centre[0]:.0f}, column {flaw.centre[1]:.0f}, contrast "
            f"{flaw.contrast:.0f} of 255 levels"
            for flaw in flaws[:NAMED]
        )
        area = sum(flaw.size for flaw in flaws)
        rest = f"; and {len(flaws) - NAMED} smaller" if len(flaws) > NAMED else ""
        return f"{counted(len(flaws), 'region')}, {100 * area / self.size**2:.2g} % of the picture: {named}{rest}."

    def _shown(self, pixels: np.ndarray) -> np.ndarray:
        return resized(pixels, SIDE, SIDE, smooth=self.size > SIDE)

    def _marked(self, mask: np.ndarray) -> np.ndarray:
        """The mask, dark on light, with the sizes of its largest regions."""
        pixels = np.where(mask[..., None], np.array(rgb(ORANGE)), LIGHT).astype(np.uint8)
        canvas = Canvas(self._shown(pixels), SIDE / self.size)
        for flaw in sorted(self.flaws(), key=lambda flaw: -flaw.size)[:NAMED]:
            row, column = (min(part, 0.85 * self.size) for part in flaw.centre)  # so that the words stay inside
            canvas.text(column, row, f"{flaw.size:,}", 12)
        return canvas.pixels


class ToyboxExplorer(Explorer):
    """Turn the knobs of an embedded category, and see what becomes of a picture, its defect and its mask.

    Takes what `ToyboxState` takes: a category, a kind of defect (or "good"), which picture, a seed, a size, and knobs.
    """

    def __init__(self, category: str = "washer", **chosen: Any) -> None:
        super().__init__(ToyboxState(category, **chosen))


def _worded(knob: str) -> Callable[[float], str]:
    return percent if knob == "mislabelled" else "{:g}".format
