"""The data cards of the embedded categories, written from the code that draws them.

python -m pclib.toybox.cards > data/toybox.md
"""

from __future__ import annotations

import hashlib
import inspect
from importlib.metadata import version

import numpy as np

from pclib.samples import GOOD
from pclib.toybox import CATEGORIES, Toybox
from pclib.toybox.drawing import Recipe
from pclib.toybox.knobs import Knobs

PACKAGES = ("numpy", "pillow", "scipy", "scikit-image")
MEASURED = 6  # pictures per kind of defect

INTRODUCTION = """# The toybox: data cards

Written by `make cards` from the code in `pclib/toybox`; a test compares. A picture follows from its category, split,
index, seed, size and knobs alone. `pclib.open_category("toybox/washer")` opens a category,
`pclib.Toybox("washer", contrast=0.5)` turns a knob, `pclib toybox export FOLDER` writes files in MVTec AD's layout.

Masks are exact: a defective picture differs from the same picture without its defect in every pixel of the mask and in
no other. Where a defect happens to leave a pixel as it was, that pixel is changed by one grey level.

**What they are for:** teaching, and tests that must move when a method gets worse. **What they are not for:** comparing
methods with published numbers, or choosing one for a factory. Defects were adjusted until PatchCore with
EfficientNet-Lite0 at default settings found some categories easy and others hard, so its level on them is a choice, not
a finding.

**Kinds marked *logical*** leave every part intact and only arrange them wrongly. PatchCore compares patches wherever
they lie, so these kinds are built to defeat it, unless the surroundings of a patch give them away.
"""
PHOTOGRAPHS = """**Photographs** come with the scikit-image package and are read from there; none is copied into this
project. Training windows lie in the left part of a photograph and test windows in the right, so no test pixel was ever
in training. But windows of one part overlap, so test pictures are not independent of each other, and intervals computed
from them are too narrow.
"""


def text() -> str:
    """The cards as Markdown."""
    return "\n".join([INTRODUCTION, _knobs(), PHOTOGRAPHS, *map(_card, CATEGORIES, CATEGORIES.values()), _versions()])


def fingerprint(name: str) -> str:
    """SHA-256 (first 16 digits) of some of a category's pictures and masks."""
    category = Toybox(name, train=2, good=2, defective=len(CATEGORIES[name].defects))
    digest = hashlib.sha256()
    for sample in [*category.train, *category.test]:
        mask = sample.load_mask()
        assert mask is not None  # drawn samples know theirs
        digest.update(np.asarray(sample.load()).tobytes() + mask.tobytes())
    return digest.hexdigest()[:16]


def _knobs() -> str:
    rows = ["| knob | default | range | meaning |", "|---|---|---|---|"]
    for name, (low, high) in Knobs.ranges().items():
        rows.append(f"| `{name}` | {getattr(Knobs(), name):g} | {low:g} to {high:g} | {Knobs.meanings()[name]} |")
    return "\n".join(["## Knobs", "", *rows, ""])


def _card(name: str, recipe: Recipe) -> str:
    category = Toybox(name, train=1, good=0, defective=MEASURED * len(recipe.defects))
    rows = ["| defect | | what it is | area, median | contrast, median |", "|---|---|---|---|---|"]
    for kind, draw in recipe.defects.items():
        sort = "logical" if kind in recipe.logical else "structural"
        flaws = [flaw for sample in category.test if sample.defect == kind for flaw in sample.flaws()]
        area = 100 * np.median([flaw.size for flaw in flaws]) / 256**2
        contrast = np.median([flaw.contrast for flaw in flaws])
        what = (inspect.getdoc(draw) or "").splitlines()[0]
        rows.append(f"| `{kind}` | {sort} | {what} | {area:.2g} % | {contrast:.0f} levels |")
    default = Toybox(name)
    tested = sum(sample.defect == GOOD for sample in default.test)
    return "\n".join(
        [
            f"## {name}",
            "",
            f"{recipe.title}. {recipe.shape.capitalize()}, {recipe.source}.",
            "",
            f"- By default {len(default.train)} good pictures to train on; {tested} good and "
            f"{len(default.test) - tested} defective ones to test on; 256 x 256 pixels.",
            f"- Good pictures differ in: {recipe.variation}.",
            f"- Fingerprint: `{fingerprint(name)}`",
            "",
            *rows,
            "",
        ]
    )


def versions() -> str:
    """The packages that decide what the pictures look like, to the bit."""
    return ", ".join(f"{package} {version(package)}" for package in PACKAGES)


def _versions() -> str:
    return f"Fingerprints, areas and contrasts were computed with {versions()}.\n"


if __name__ == "__main__":
    print(text(), end="")
