"""A cell of a table: one configuration on one category with one seed; and what measuring it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pclib import inventory
from pclib._checks import near
from pclib.configurations import Configuration, digest
from pclib.datasets import open_category
from pclib.profile import profile
from pclib.samples import Category
from pclib.toybox import NAMES, Toybox

TOYBOX = "toybox"
PICTURES: dict[str, Any] = {
    "train": 40,
    "good": 16,
    "defective": 24,
    "size": 160,
    "seed": 0,
}  # of each embedded category in a table
SHOWN = ("washer", "gravel", "weave")  # embedded categories in the tables of the demo profile
# Parameters in which cells may differ and still share their pictures and features.
APART = {"patchcore": ("coreset",)}
METRICS = {"image AUROC": "image_auroc", "pixel AUROC": "pixel_auroc", "PRO": "pro"}


@dataclass(frozen=True)
class Cell:
    """What is to be measured.

    data      "mvtec", "visa", "toybox", or the whole path of a folder that holds category folders
    category  its name there
    seed      of the method
    """

    configuration: Configuration
    data: str
    category: str
    seed: int

    def __str__(self) -> str:
        return f"{self.configuration.name} on {self.data}/{self.category}, seed {self.seed}"

    @cached_property
    def key(self) -> str:
        """What makes two cells the same: SHA-256 in hexadecimal. Wherever the pictures of a known data set lie, it is
        the same; a folder of one's own is known by its path."""
        pictures = PICTURES if self.data == TOYBOX else None
        facts = {"data": self.data, "category": self.category, "pictures": pictures, "seed": self.seed}
        return digest({"configuration": self.configuration.digest, **facts})

    @cached_property
    def group(self) -> str:
        """The same for cells that share their pictures and features."""
        apart = APART.get(self.configuration.method, ())
        shared = {k: v for k, v in self.configuration.parameters.items() if k not in apart}
        method = self.configuration.method
        return digest({"data": self.data, "category": self.category, "method": method, "parameters": shared})

    def open(self) -> Category:
        """The category, known to be complete where its contents are known.

        Raises FileNotFoundError or ValueError, saying what is missing and where to put it.
        """
        if self.data == TOYBOX:
            return Toybox(self.category, **PICTURES)
        if self.data in inventory.DATA_SETS:
            return open_category(inventory.find(self.data, self.category))
        return open_category(Path(self.data) / self.category)


@dataclass(frozen=True, eq=False)
class Measured:
    """What measuring a cell gave.

    metrics     image_auroc, pixel_auroc, pro in [0, 1], and the ends of their 95 % intervals as <metric>_low and _high;
                None where a metric is not defined
    counts      n_train, n_good, n_anomalous, n_regions
    scores      arrays over the test pictures: name, defect, score
    timing      seconds spent in each stage while this cell was measured; what cells share is spent by the first
    memory      the most bytes that the process held meanwhile
    provenance  data and weights (SHA-256), code, versions, host
    """

    metrics: Mapping[str, float | None]
    counts: Mapping[str, int | None]
    scores: Mapping[str, np.ndarray] = field(repr=False)
    timing: Mapping[str, float] = field(repr=False)
    memory: int = field(repr=False)
    provenance: Mapping[str, Any] = field(repr=False)


def named_data(data: str | Path | None) -> str:
    """The name under which cells know a data set: as given, or the whole path of a folder.

    None stands for that of the profile's tables: "toybox" in the demo profile, else "mvtec". The folder in which a
    known data set is looked for stands for that data set.
    """
    if data is None:
        return TOYBOX if profile().name == "demo" else "mvtec"
    if data in (TOYBOX, *inventory.DATA_SETS) or not Path(data).is_dir():
        return str(data)
    place = Path(data).resolve()
    return next((name for name in inventory.DATA_SETS if inventory.folder(name).resolve() == place), str(place))


def categories_of(data: str) -> list[str]:
    """The names of a data set's categories. Raises ValueError for a data set that is neither known nor a folder."""
    if data == TOYBOX:
        return list(NAMES)
    if data in inventory.DATA_SETS:
        return list(inventory.DATA_SETS[data].categories)
    if Path(data).is_dir():
        found = sorted(p.name for p in Path(data).iterdir() if p.is_dir() and not p.name.startswith("."))
        if not found:
            raise ValueError(f"{data}: holds no category folders")
        return found
    known = near(data, [TOYBOX, *inventory.DATA_SETS])
    raise ValueError(
        f"no data set or folder {data!r}: give {known}, or the path of a folder that holds category folders"
    )
