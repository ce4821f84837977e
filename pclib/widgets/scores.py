"""Score explorer: why a pixel is scored as it is, and what each choice on the way to the score does."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import traitlets
from matplotlib.axes import Axes

from pclib._checks import Undefined
from pclib.framing import Box
from pclib.metrics import auroc, count_regions
from pclib.patchcore import DIM, SIGMA
from pclib.plots import BLUE, CONTEXT, MARK, ORANGE
from pclib.scoring import anomaly_map, eq7_factor, image_scores, nearest
from pclib.widgets.charts import Chart
from pclib.widgets.explorer import Explorer
from pclib.widgets.material import Material
from pclib.widgets.pixels import WHITE, Canvas, coloured, outlined, resized
from pclib.widgets.state import Choose, Control, Panel, Slide, State, Switch, listed, short

MOST_NEIGHBORS = 9
SIGMAS = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0]
SHARES = [0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.993, 0.995, 0.997, 0.998, 0.999, 0.9995]
TILE, LABEL, ACROSS = 92, 30, 5  # pixels of a close-up, of what is written below it, and close-ups in a row
GAP = 4


class ScoreState(State):
    """How a category's test pictures are scored.

    picture  the test picture;  place: (row, column) of a pixel of the framed picture
    k        nearest memory patches that a patch's score is the mean of
    squared  whether distances are squared, as in the official code;  sigma: of the map's blur, in pixels
    weighted whether image scores are multiplied by Eq. 7's factor
    share    the threshold of the map: this share of all test patches scores below it
    """

    picture = traitlets.Int()
    place: traitlets.Tuple = traitlets.Tuple(traitlets.Int(), traitlets.Int())
    k = traitlets.Int()
    squared = traitlets.Bool()
    weighted = traitlets.Bool()
    sigma = traitlets.Float(SIGMA)
    share = traitlets.Float(0.99)

    def __init__(self, material: Material, **chosen: Any) -> None:
        self.material, detector = material, material.detector
        if detector.bank is None:
            raise ValueError("the material's detector has no memory; make it by widgets.gather, or fit it first")
        self.bank, self.most = detector.bank, min(MOST_NEIGHBORS, len(detector.bank))
        self._squared, self._rows = nearest(material.test_features, self.bank, self.most)
        self._patch_scores = lru_cache(lambda k, squared: self._all_patch_scores(k, squared))
        self._weights = lru_cache(lambda k, squared: self._all_weights(k, squared))
        self._strip = Chart(_draw_strip, (400, 150))
        picture = chosen.get("picture", int(material.labels().argmax()))
        official = detector.protocol == "official"
        defaults = {"picture": picture, "k": detector.neighbors, "squared": official, "weighted": not official}
        super().__init__(**defaults | {"place": (0, 0)} | chosen)
        if "place" not in chosen:
            self.place = self._pixel_of(self.worst())

    @traitlets.validate("picture", "k", "sigma", "share")
    def _check_range(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = {
            "picture": (0, len(self.material.test.samples) - 1),
            "k": (1, self.most),
            "sigma": (0, SIGMAS[-1]),
            "share": (0, 1),
        }[name]
        if not low <= value <= high:
            raise ValueError(f"{name} must lie in [{low}, {high}], got {value}")
        return value

    @traitlets.validate("place")
    def _check_place(self, proposal: Any) -> tuple[int, int]:
        crop = self.material.detector.framing.crop
        if not all(0 <= part < crop for part in proposal["value"]):
            raise ValueError(f"place must be a row and a column in [0, {crop}), got {proposal['value']}")
        return proposal["value"]

    def prepare(self) -> None:
        """Score and weigh all test pictures in every way, so that no choice has to wait for it."""
        for k in range(1, self.most + 1):
            for squared in (True, False):
                self._weights(k, squared)

    def patch_scores(self) -> np.ndarray:
        """(n, rows, columns): all test patches' scores, as chosen."""
        return self._patch_scores(self.k, self.squared)

    def image_scores(self) -> np.ndarray:
        """(n,): all test pictures' scores, as chosen."""
        scores = image_scores(self.patch_scores())
        return scores * self.weights() if self.weighted else scores

    def weights(self) -> np.ndarray:
        """(n,): Eq. 7's factor of all test pictures."""
        return self._weights(self.k, self.squared)

    def patch(self) -> tuple[int, int]:
        """Row and column on the grid of the patch that is pointed at."""
        crop = self.material.detector.framing.crop
        row, column = (
            part * cells // crop for part, cells in zip(self.place, self.material.detector.grid, strict=True)
        )
        return row, column

    def worst(self) -> tuple[int, int]:
        """Row and column of the picture's worst patch, which gives it its score."""
        row, column = divmod(int(self.patch_scores()[self.picture].argmax()), self.material.detector.grid[1])
        return row, column

    def neighbors(self) -> list[tuple[int, tuple[int, int], float]]:
        """The k memory patches nearest to the patch: training picture, place on its grid, distance as chosen."""
        row, column = self.patch()
        squared, rows = (found[self.picture, row, column, : self.k] for found in (self._squared, self._rows))
        distances = squared if self.squared else np.sqrt(squared)
        places = [(int(r), int(c)) for r, c in self.bank.place[rows]]
        return [(int(self.bank.image[i]), p, float(d)) for i, p, d in zip(rows, places, distances, strict=True)]

    def map(self) -> np.ndarray:
        """(crop, crop): the picture's anomaly map."""
        scores = self.patch_scores()[self.picture]
        return anomaly_map(scores[None], self.material.detector.framing.crop, self.sigma)[0]

    def threshold(self) -> float:
        """The score that the chosen share of all test patches lies below."""
        return float(np.quantile(self.patch_scores(), self.share))

    def controls(self) -> list[Control]:
        return [
            Choose("picture", "Test picture", listed(self.material.test.samples)),
            Slide("k", "Neighbours", range(1, self.most + 1)),
            Switch("squared", "Squared distances"),
            Switch("weighted", "Eq. 7's weight"),
            Slide("sigma", "Blur", SIGMAS, lambda sigma: f"{sigma:g} pixels"),
            Slide("share", "Threshold", SHARES, lambda share: f"above {100 * share:g} % of patches"),
        ]

    def words(self) -> str:
        sample, (row, column) = self.material.test.samples[self.picture], self.patch()
        score = float(self.patch_scores()[self.picture, row, column])
        image, weight = float(self.image_scores()[self.picture]), float(self.weights()[self.picture])
        above, what = self.map() > self.threshold(), "squared distance" if self.squared else "distance"
        mean = f"mean {what} to the {self.k} nearest memory patches" if self.k > 1 else f"{what} to the nearest one"
        sources = (f"{short(d)} from picture {i}, row {r}, column {c}" for i, (r, c), d in self.neighbors())
        regions = count_regions(above[None])
        lines = [
            f"Test picture {self.picture}, {sample.defect or 'unknown'}: image score {short(image)}; Eq. 7's "
            f"weight is {weight:.3f}, {'used' if self.weighted else 'not used'}.",
            f"The pixel at row {self.place[0]}, column {self.place[1]} lies in patch row {row}, column {column}, which "
            f"scores {short(score)}: the {mean}.",
            f"Memory patches: {'; '.join(sources)}.",
            f"The map exceeds {short(self.threshold())} on {int(above.sum()):,} pixels in {regions} "
            f"{'region' if regions == 1 else 'regions'}.",
            self._ranked(),
            self.material.note,
        ]
        return "\n".join(line for line in lines if line)

    def panels(self) -> list[Panel]:
        sample, (row, column) = self.material.test.samples[self.picture], self.patch()
        box, pixels = self.material.detector.box((row, column)), self.map()
        threshold = self.threshold()
        where = f"the patch at row {row}, column {column}"
        contoured = outlined(coloured(pixels, self._scale()), pixels > threshold, WHITE, 1)
        found = self.neighbors()
        return [
            Panel(
                "Test picture",
                Canvas(self.material.outlined[self.picture]).box(box).pixels,
                f"Test picture {self.picture} ({sample.defect or 'unknown'}), defect outlined if known; {where} framed",
                300,
                photo=True,
                point=self._point,
                step=self._step,
            ),
            Panel(
                "Its anomaly map",
                Canvas(contoured).box(box).pixels,
                f"Anomaly map, highest {short(float(pixels.max()))}; a white line around what exceeds "
                f"{short(threshold)}; {where} framed",
                300,
                photo=True,
                point=self._point,
                step=self._step,
            ),
            Panel(
                "This patch, and the memory patches nearest to it",
                self._close_ups(found),
                f"Close-ups of {where} and of {len(found)} memory patches, the nearest from training picture "
                f"{found[0][0]} at {short(found[0][2])}",
                ACROSS * (TILE + GAP) - GAP,
                photo=True,
            ),
            Panel("All image scores", *self._marked_strip()),
        ]

    def _all_patch_scores(self, k: int, squared: bool) -> np.ndarray:
        nearest_k = self._squared[..., :k]
        return (nearest_k if squared else np.sqrt(nearest_k)).mean(-1)

    def _all_weights(self, k: int, squared: bool) -> np.ndarray:
        scores = self._patch_scores(k, squared)
        one_each = np.arange(len(scores)), scores.reshape(len(scores), -1).argmax(1)
        worst = self.material.test_features.reshape(len(scores), -1, DIM)[one_each]
        return eq7_factor(worst, self._rows.reshape(len(scores), -1, self.most)[one_each][:, 0], self.bank)

    def _scale(self) -> tuple[float, float]:
        """One for all pictures, whatever the blur."""
        low, high = np.quantile(self.patch_scores(), (0.5, 0.999))
        return float(low), float(high)

    def _ranked(self) -> str:
        try:
            found = auroc(self.material.labels(), self.image_scores())
        except (Undefined, ValueError):
            return "No image AUROC: it takes good and defective test pictures."
        return f"Image AUROC of the {len(self.material.test.samples)} test pictures, scored like this: {found:.3f}."

    def _pixel_of(self, patch: tuple[int, int]) -> tuple[int, int]:
        """The pixel in the middle of a patch."""
        crop = self.material.detector.framing.crop
        row, column = (int((part + 0.5) * crop / n) for part, n in zip(patch, self.material.detector.grid, strict=True))
        return row, column

    def _point(self, x: float, y: float) -> None:
        crop = self.material.detector.framing.crop
        self.place = int(y * crop), int(x * crop)

    def _step(self, across: int, down: int) -> None:
        (row, column), (rows, columns) = self.patch(), self.material.detector.grid
        self.place = self._pixel_of((min(max(row + down, 0), rows - 1), min(max(column + across, 0), columns - 1)))

    def _close_ups(self, found: list[tuple[int, tuple[int, int], float]]) -> np.ndarray:
        """The patch first, then its neighbours, each with where it is from and its distance."""
        row, column = self.patch()
        score = float(self.patch_scores()[self.picture, row, column])
        tiles = [(self.material.test.pixels[self.picture], (row, column), "this patch", f"score {short(score)}")]
        tiles += [(self.material.train.pixels[i], place, f"picture {i}", short(d)) for i, place, d in found]
        sheet = np.full((2 * (TILE + LABEL), ACROSS * (TILE + GAP) - GAP, 3), 255, np.uint8)
        corners = [(i // ACROSS * (TILE + LABEL), i % ACROSS * (TILE + GAP)) for i in range(len(tiles))]
        for (pixels, place, _, _), (top, left) in zip(tiles, corners, strict=True):
            sheet[top : top + TILE, left : left + TILE] = _close_up(pixels, self.material.detector.box(place))
        canvas = Canvas(sheet)
        for (_, _, source, distance), (top, left) in zip(tiles, corners, strict=True):
            canvas.text(left, top + TILE, f"{source}\n{distance}")
        return canvas.pixels

    def _marked_strip(self) -> tuple[np.ndarray, str, int]:
        """All image scores on a line each for good and defective, the picture's ringed."""
        scores, labels = self.image_scores(), self.material.labels()
        low, high = float(scores.min()), float(scores.max())
        across = (scores - low) / ((high - low) or 1.0)
        canvas = self._strip.canvas()
        for i, (x, label) in enumerate(zip(across, labels, strict=True)):
            place = self._strip.at(float(x), float(label or 0))
            mark, colour = (canvas.square, ORANGE) if label else (canvas.dot, BLUE)
            mark(*place, colour)
            if i == self.picture:
                canvas.ring(*place, MARK)
        alt = (
            f"Image scores from {short(low)} to {short(high)}, good ones and defective ones on a line each; "
            f"this picture's, {short(float(scores[self.picture]))}, is ringed"
        )
        return canvas.pixels, alt, self._strip.width


class ScoreExplorer(Explorer):
    """Why a pixel is scored as it is: point at one; what squares, neighbours, Eq. 7, blur and threshold do.

    Takes what `ScoreState` takes: a `Material`, and what to start with.
    """

    def __init__(self, material: Material, **chosen: Any) -> None:
        super().__init__(ScoreState(material, **chosen))


def _close_up(pixels: np.ndarray, box: Box) -> np.ndarray:
    """The surroundings of a box, TILE pixels wide, the box outlined."""
    side = min(2 * CONTEXT, len(pixels))
    top, left = (
        min(max((first + last - side) // 2, 0), len(pixels) - side)
        for first, last in ((box.top, box.bottom), (box.left, box.right))
    )
    close = resized(pixels[top : top + side, left : left + side], TILE, TILE)
    return Canvas(close, TILE / side).box(box.shifted(-top, -left)).pixels


def _draw_strip(axes: list[Axes]) -> None:
    axes[0].set(xlim=(-0.04, 1.04), ylim=(-0.6, 1.6), xticks=[0, 1], xticklabels=["lowest", "highest"])
    axes[0].set(yticks=[0, 1], yticklabels=["good", "defective"], xlabel="image score, of these test pictures")
