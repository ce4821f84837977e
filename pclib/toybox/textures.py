"""Three real textures, cut from photographs: training pictures from one part, test pictures from the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pclib.toybox import flaws, photographs
from pclib.toybox.drawing import Overlay, Picture, Recipe, slope_of_light
from pclib.toybox.knobs import Knobs

VARIATION = "place, mirroring, small rotation, zoom and bending of the crop; contrast, tint and light"


@dataclass(frozen=True)
class Texture:
    """How one photograph becomes pictures: `window` pixels of it a side, grey values from `dark` to `light`."""

    photograph: str
    window: float
    dark: tuple[float, float, float]
    light: tuple[float, float, float]
    turn: float = 0.06
    flip_down: bool = True
    bend: float = 1.5

    def draw(self, rng: np.random.Generator, size: int, knobs: Knobs, training: bool) -> Picture:
        """One good picture."""
        grey = photographs.crop(
            self.photograph,
            rng,
            size,
            knobs,
            training,
            window=self.window,
            turn=self.turn,
            zoom=0.05,
            flip_down=self.flip_down,
            bend=self.bend,
        )
        low, high = np.quantile(photographs.photograph(self.photograph), (0.01, 0.99))
        stretched = (grey - low) / (high - low)
        stretched = 0.5 + (stretched - 0.5) * (1 + knobs.irregularity * rng.uniform(-0.08, 0.08))
        tint = 1 + knobs.lighting * rng.uniform(-0.02, 0.02, 3)
        dark, light = np.array(self.dark), np.array(self.light)
        colour = (dark + stretched[..., None] * (light - dark)) * tint * slope_of_light(rng, size, knobs, 0.06, 0.15)
        return Picture(np.clip(colour, 0, 1), knobs, np.ones((size, size)))


def _moss(picture: Picture, rng: np.random.Generator) -> Overlay:
    """Stuff for inclusions: a dark green cut of the lawn."""
    lawn = LAWN.draw(rng, picture.size, picture.knobs, False).colour
    return Overlay(np.ones((picture.size, picture.size)), 0.7 * lawn)


LAWN = Texture("grass", 150, (0.03, 0.07, 0.02), (0.74, 0.88, 0.42), turn=0.1)

GRAVEL = Recipe(
    "Grey gravel, seen from above",
    "texture",
    Texture("gravel", 150, (0.10, 0.10, 0.11), (0.83, 0.80, 0.75)).draw,
    {
        "blurred": flaws.blurred((0.07, 0.12), (0.012, 0.022)),
        "inclusion": flaws.inclusion((0.03, 0.06), flaws.paint((0.42, 0.27, 0.16))),
        "missing": flaws.missing((0.04, 0.08)),
        "oil": flaws.stain((0.05, 0.1), (0.5, 0.85), (0.35, 0.3, 0.25)),
        "warp": flaws.warp((0.1, 0.18), (0.9, 1.8)),
    },
    VARIATION,
    source=photographs.LICENCES["gravel"],
)

GRASS = Recipe(
    "A lawn with some clover, seen from above",
    "texture",
    LAWN.draw,
    {
        "blurred": flaws.blurred((0.06, 0.11), (0.008, 0.016)),
        "bare": flaws.missing((0.06, 0.1)),
        "dry": flaws.stain((0.06, 0.12), (0.7, 1.0), (1.3, 0.8, 0.35)),
        "stone": flaws.inclusion((0.025, 0.05), flaws.paint((0.52, 0.52, 0.5))),
        "warp": flaws.warp((0.1, 0.2), (0.9, 1.8)),
    },
    VARIATION,
    source=photographs.LICENCES["grass"],
)

BRICK = Recipe(
    "A brick pavement in running bond",
    "texture",
    Texture("brick", 160, (0.28, 0.14, 0.10), (0.86, 0.80, 0.72), turn=0.03, flip_down=False).draw,
    {
        "crack": flaws.crack((0.2, 0.4), (0.008, 0.016), (0.4, 0.8)),
        "missing": flaws.missing((0.04, 0.08)),
        "moss": flaws.inclusion((0.03, 0.07), _moss),
        "scratch": flaws.scratch((0.1, 0.25), (0.004, 0.009), (0.08, 0.3)),
        "warp": flaws.warp((0.12, 0.2), (0.6, 1.4)),
    },
    VARIATION,
    source=photographs.LICENCES["brick"],
)
