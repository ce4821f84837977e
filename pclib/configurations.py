"""Rows of the tables as things that can be run: every parameter written out, and a note on each that was inferred.

A configuration says how a method is run, not on what. `PAPER` holds those behind the published rows, by the names that
the tables give them; `EMBEDDED` the same with the embedded backbone on small pictures, which anyone can run and whose
numbers mean nothing beside the paper's.
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
    tables      in which it is a row
    method      which code measures it: a name in `measuring.METHODS`, or "module:Class"
    parameters  all of them, whether or not they are the method's defaults; values that JSON knows
    inferred    parameter: why it is taken to be so, where the paper and its code do not say it
    """

    name: str
    tables: tuple[str, ...]
    method: str
    parameters: Mapping[str, Any] = field(hash=False)
    inferred: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

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


def _shares(common: Mapping[str, Any], inferred: Mapping[str, str]) -> dict[str, Configuration]:
    return {
        f"PatchCore-{100 * share:g}": Configuration(
            f"PatchCore-{100 * share:g}", S1_TO_S3, "patchcore", {**common, "coreset": share}, inferred
        )
        for share in (0.25, 0.1, 0.01)
    }


def _hierarchies(common: Mapping[str, Any], stages: Mapping[int, str], inferred: Mapping[str, str]) -> dict:
    rows = {}
    for chosen in ((2, 3), (1, 2, 3)):
        name = f"layers {', '.join(map(str, chosen))}"
        parameters = {**common, "layers": [stages[i] for i in chosen], "coreset": 0.01}
        rows[name] = Configuration(name, ("S4",), "patchcore", parameters, inferred)
    return rows


_PAPER = {**_COMMON, "backbone": "wide_resnet50_2", "layers": ["layer2", "layer3"], "resize": 256, "crop": 224}
_PAPER_LARGER = {**_COMMON, "backbone": "wide_resnet101_2", "resize": 320, "crop": 280}
_LITE = {"backbone": "tf_efficientnet_lite0", "layers": ["blocks.2", "blocks.4"]}
_EMBEDDED = {**_COMMON, **_LITE, "resize": 128, "crop": 112}
_EMBEDDED_LARGER = {**_COMMON, **_LITE, "resize": 160, "crop": 140}

PAPER: dict[str, Configuration] = {
    **_shares(_PAPER, _INFERRED),
    **_hierarchies(_PAPER_LARGER, {1: "layer1", 2: "layer2", 3: "layer3"}, {**_INFERRED, **_LARGER}),
}
EMBEDDED: dict[str, Configuration] = {
    **_shares(_EMBEDDED, {}),
    **_hierarchies(_EMBEDDED_LARGER, {1: "blocks.1", 2: "blocks.2", 3: "blocks.4"}, {}),
}
