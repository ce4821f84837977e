"""Rows of the tables as things that can be run: every parameter written out, and a note on each that was inferred.

A configuration says how a method is run, not on what. `PAPER` holds those behind the published rows, by the names that
the tables give them, and a few more that their papers report and no table has; `EMBEDDED` the same with the embedded
backbone on small pictures, which anyone can run and whose numbers mean nothing beside the paper's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pclib._checks import near

S1_TO_S3 = ("S1", "S2", "S3")
TABLES = (*S1_TO_S3, "S4")


@dataclass(frozen=True)
class Configuration:
    """How a method is run.

    name        as in the tables; configurations of one name and other parameters are different ones
    tables      in which it is a row; none for one that no table has
    method      which code measures it: a name in `measuring.METHODS`, or "module:Class"
    parameters  all of them, whether or not they are the method's defaults; values that JSON knows
    inferred    parameter: why it is taken to be so, where the paper and its code do not say it
    published   whose run the published row is and of which variant, and where this one differs from it
    """

    name: str
    tables: tuple[str, ...]
    method: str
    parameters: Mapping[str, Any] = field(hash=False)
    inferred: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    published: str = field(default="", repr=False, compare=False)

    @property
    def digest(self) -> str:
        """What makes two configurations the same: SHA-256 over method and parameters."""
        return digest({"method": self.method, "parameters": dict(self.parameters)})

    def changed(self, name: str, **parameters: Any) -> Configuration:
        """The same with other parameters, under a name of its own; it stands in no table of the paper's.

        Raises ValueError for a parameter that the method does not have.
        """
        for parameter in parameters:
            if parameter not in self.parameters:
                known = near(parameter, self.parameters, most=len(self.parameters))
                raise ValueError(f"{self.name} has no parameter {parameter!r}; it has {known}")
        return Configuration(name, (), self.method, {**self.parameters, **parameters})


def rows_of(tables: str | Iterable[str], among: Mapping[str, Configuration]) -> dict[str, Configuration]:
    """The configurations that are rows of some tables."""
    asked = {tables} if isinstance(tables, str) else set(tables)
    return {name: row for name, row in among.items() if asked.intersection(row.tables)}


def digest(facts: Mapping[str, Any]) -> str:
    """SHA-256 over facts that JSON can hold, in hexadecimal; the order of names does not matter."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def find(names: str | Configuration | Iterable[str | Configuration], among: Mapping[str, Configuration]) -> list:
    """Configurations by name, each once; those given as such are passed on.

    Raises ValueError for an unknown name, and for two different ones of one name.
    """
    found: dict[str, Configuration] = {}
    for wanted in [names] if isinstance(names, str | Configuration) else names:
        if not isinstance(wanted, Configuration) and wanted not in among:
            raise ValueError(f"no configuration {wanted!r} can be run here; there is {near(wanted, among, most=9)}")
        row = wanted if isinstance(wanted, Configuration) else among[wanted]
        if found.setdefault(row.name, row).digest != row.digest:
            raise ValueError(f"two configurations are called {row.name!r}; give one of them another name")
    return list(found.values())


_COMMON = {
    **{"weights": "imagenet", "neighbors": 1, "protocol": "official", "precision": "float32"},
    **{"patchsize": 3, "dimensions": 1024, "sigma": 4.0, "projection": 128, "start": "official"},
}
_INFERRED = {
    "weights": "torchvision's first ImageNet weights (V1): the code names none, and V2 did not exist yet",
    "dimensions": "1024 before and after pooling, as in the commands of the authors' repository",
    "neighbors": "1, as in the commands of the authors' repository; the text has Eq. 7 instead",
    "sigma": "4 pixels, as in the authors' code and text; at 280 pixels too, where nothing is said",
    "seed": "the paper names no number of runs; the authors' commands use seed 0",
}
_LARGER = {
    "resize": "320 for a crop of 280, in the ratio of 256 to 224; no command for 280 pixels is public",
    "backbone": "WideResNet101 with torchvision's V1 weights, as the caption names it",
}


_OWN = "The run of PatchCore's authors."


def _shares(common: Mapping[str, Any], inferred: Mapping[str, str]) -> dict[str, Configuration]:
    return {
        f"PatchCore-{100 * share:g}": Configuration(
            f"PatchCore-{100 * share:g}", S1_TO_S3, "patchcore", {**common, "coreset": share}, inferred, _OWN
        )
        for share in (0.25, 0.1, 0.01)
    }


def _hierarchies(common: Mapping[str, Any], stages: Mapping[int, str], inferred: Mapping[str, str]) -> dict:
    rows = {}
    for chosen in ((2, 3), (1, 2, 3)):
        name = f"layers {', '.join(map(str, chosen))}"
        parameters = {**common, "layers": [stages[i] for i in chosen], "coreset": 0.01}
        rows[name] = Configuration(name, ("S4",), "patchcore", parameters, inferred, _OWN)
    return rows


_PAPER = {**_COMMON, "backbone": "wide_resnet50_2", "layers": ["layer2", "layer3"], "resize": 256, "crop": 224}
_PAPER_LARGER = {**_COMMON, "backbone": "wide_resnet101_2", "resize": 320, "crop": 280}
_LITE = {"backbone": "tf_efficientnet_lite0", "layers": ["blocks.2", "blocks.4"]}
_EMBEDDED = {**_COMMON, **_LITE, "resize": 128, "crop": 112}
_EMBEDDED_LARGER = {**_COMMON, **_LITE, "resize": 160, "crop": 140}

_SEEN = {"weights": "imagenet", "precision": "float32"}
_FRAMED = {**_SEEN, "resize": 256, "crop": 224}
_SMALL = {**_SEEN, "backbone": "tf_efficientnet_lite0", "resize": 128, "crop": 112}
_V1 = "torchvision's first ImageNet weights (V1): those that there were"
_BILINEAR = "the pictures bilinearly, as for PatchCore; the paper resizes by a bicubic filter"
_AUTOAUGMENT = "AutoAugment's, which the PyTorch port of that time came with"
_TEN_DRAWS = "the paper averages over ten draws of the channels; this is one"
_LEVELS = ["bn1", *(f"blocks.{i}" for i in range(7)), "bn2"]  # all ends of stages of an EfficientNet, and its head
_B4 = {**_SEEN, "backbone": "timm/tf_efficientnet_b4.aa_in1k", "layers": _LEVELS, "resize": 380, "crop": 380}
_NEXT_DOOR = (
    Configuration(
        "SPADE",
        S1_TO_S3,
        "spade",
        {
            **{**_FRAMED, "backbone": "wide_resnet50_2", "layers": ["layer1", "layer2", "layer3", "layer4"]},
            **{"neighbors": 50, "patches": 1, "squared": False, "sigma": 4.0},
        },
        {
            "weights": _V1,
            "squared": "plain distances; accounts of the paper differ, and layers then weigh differently in the map",
            "neighbors": "50, as the paper says; public re-runs find an image AUROC of 80 to 83 % with 50, and the "
            "published 85.5 with 3 to 5",
        },
        "Its own paper's numbers. PatchCore's authors, running it themselves, report 85.3, 96.6 and 91.5.",
    ),
    Configuration(
        "PaDiM",
        S1_TO_S3,
        "padim",
        {
            **{**_FRAMED, "backbone": "wide_resnet50_2", "layers": ["layer1", "layer2", "layer3"]},
            **{"channels": 550, "epsilon": 0.01, "sigma": 4.0},
        },
        {"weights": _V1, "resize": _BILINEAR, "seed": _TEN_DRAWS},
        "Its own paper's numbers, WideResNet50 with 550 channels. PatchCore's authors, running it themselves, report "
        "95.4, 97.3 and 91.8.",
    ),
    Configuration(
        "PaDiM*",
        ("S1",),
        "padim",
        {
            **{
                **_FRAMED,
                "backbone": "timm/tf_efficientnet_b5.aa_in1k",
                "layers": ["blocks.1", "blocks.3", "blocks.4"],
            },
            **{"channels": None, "epsilon": 0.01, "sigma": 4.0},
        },
        {
            "layers": "the paper counts blocks 7, 20 and 26 and calls them levels 2, 4 and 5; from 0 or 1, it does not "
            "say. Taken here: the ends of stages 2, 4 and 5, with 40 + 128 + 176 channels",
            "weights": _AUTOAUGMENT,
            "crop": "224 from 256, as for its other networks; none is named for this one",
            "channels": "all: names of its other variants say how many are drawn, and this one's does not",
        },
        "Its own paper's numbers, with the network found best for image scores; PatchCore's authors could not "
        "reproduce them.",
    ),
    Configuration(
        "MahalanobisAD",
        ("S1",),
        "mahalanobis",
        {**_B4, "npca": 0.01, "augmentation": 100},
        {
            "weights": _AUTOAUGMENT,
            "augmentation": "the same kinds for every category, drawn by other code; the authors' code leaves some out "
            "for a few categories, and each of their five runs learns from four fifths of the good pictures",
        },
        "Its own paper's best variant in all fifteen cells, not the plain one, for which the paper has 94.8: only the "
        "directions with the last 1 % of the variance, learned with augmentation.",
    ),
    Configuration(
        "OCSVM",
        ("S1",),
        "ocsvm",
        {**_FRAMED, "backbone": "wide_resnet50_2", "layers": ["layer4"], "nu": 0.1},
        {
            "backbone": "the features behind the published row are not known",
            "nu": "0.1; the published row's kernel and settings are not known",
        },
        "Somebody else's run, probably copied from another paper's table (DifferNet's), on features not known. A "
        "better network will beat it, which says nothing about the method.",
    ),
    Configuration(
        "PaDiM-R18-Rd100",
        (),
        "padim",
        {
            **{**_FRAMED, "backbone": "resnet18", "layers": ["layer1", "layer2", "layer3"]},
            **{"channels": 100, "epsilon": 0.01, "sigma": 4.0},
        },
        {"weights": _V1, "resize": _BILINEAR, "seed": _TEN_DRAWS},
        "No row of these tables: the small variant of PaDiM's paper.",
    ),
    Configuration(
        "MahalanobisAD plain",
        (),
        "mahalanobis",
        {**_B4, "npca": None, "augmentation": 0},
        {"weights": _AUTOAUGMENT},
        "No row of these tables: the plain method of MahalanobisAD's paper, which has 94.8 for it.",
    ),
)
_SMALLER: dict[str, dict[str, Any]] = {  # what differs on 40 small pictures
    "SPADE": {"layers": ["blocks.1", "blocks.2", "blocks.4", "bn2"], "neighbors": 5},
    "PaDiM": {"layers": ["blocks.1", "blocks.2", "blocks.4"], "channels": 100},
    "PaDiM*": {"layers": ["blocks.1", "blocks.2", "blocks.4"]},
    "MahalanobisAD": {"layers": _LEVELS, "augmentation": 10},
    "MahalanobisAD plain": {"layers": _LEVELS},
    "OCSVM": {"layers": ["bn2"]},
}


def _embedded(row: Configuration) -> Configuration:
    return Configuration(row.name, row.tables, row.method, {**row.parameters, **_SMALL, **_SMALLER[row.name]})


PAPER: dict[str, Configuration] = {
    **_shares(_PAPER, _INFERRED),
    **_hierarchies(_PAPER_LARGER, {1: "layer1", 2: "layer2", 3: "layer3"}, {**_INFERRED, **_LARGER}),
    **{row.name: row for row in _NEXT_DOOR},
}
EMBEDDED: dict[str, Configuration] = {
    **_shares(_EMBEDDED, {}),
    **_hierarchies(_EMBEDDED_LARGER, {1: "blocks.1", 2: "blocks.2", 3: "blocks.4"}, {}),
    **{row.name: _embedded(row) for row in _NEXT_DOOR if row.name in _SMALLER},
}
