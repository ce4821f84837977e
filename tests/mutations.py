"""Alter constants that claims rest on, one at a time, in a copy of the package: does any test notice?

    python tests/mutations.py            a table of what was altered and which test failed first (minutes)
    python tests/mutations.py sigma      only alterations whose name holds this word

Fast unit tests of the module are tried first, then all of them, then the notebooks. Exits with 1 if one goes unnoticed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PARTS = ("pclib", "tests", "notebooks", "benchmarks", "data", "docs", "pyproject.toml", "README.md", "Makefile")


class Mutation(NamedTuple):
    """One alteration of one line, and the test file that is likeliest to notice."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTATIONS = [
    Mutation(
        "pooling windows begin one entry late",
        "patches.py",
        "start, end = i * width_in // width_out,",
        "start, end = (i * width_in + 1) // width_out,",
        "test_patches.py",
    ),
    Mutation(
        "pooling windows end by rounding down",
        "patches.py",
        "-(-(i + 1) * width_in // width_out)",
        "(i + 1) * width_in // width_out",
        "test_patches.py",
    ),
    Mutation("neighbourhood 5 x 5", "patchcore.py", "DIM, SIGMA = 3,", "DIM, SIGMA = 5,", "test_patchcore.py"),
    Mutation("width 1,000", "patchcore.py", "3, 1024, 4.0", "3, 1000, 4.0", "test_patchcore.py"),
    Mutation("blur sigma 3", "patchcore.py", "3, 1024, 4.0", "3, 1024, 3.0", "test_patchcore.py"),
    Mutation("blur cut at 3 sigma", "scoring.py", "sigma, axis=0)", "sigma, axis=0, truncate=3)", "test_scoring.py"),
    Mutation(
        "maps enlarged corner to corner",
        "scoring.py",
        'mode="linear", align_corners=False',
        'mode="linear", align_corners=True',
        "test_scoring.py",
    ),
    Mutation(
        "features enlarged by the nearest place",
        "patches.py",
        'mode="bilinear", align_corners=False',
        'mode="nearest"',
        "test_patches.py",
    ),
    Mutation(
        "plain distances in the official protocol",
        "patchcore.py",
        'return squared if self.protocol == "official" else np.sqrt(squared)',
        "return np.sqrt(squared)",
        "test_patchcore.py",
    ),
    Mutation(
        "the image scored by its mean patch",
        "scoring.py",
        "return patch_scores.max(axis=(1, 2))",
        "return patch_scores.mean(axis=(1, 2))",
        "test_scoring.py",
    ),
    Mutation("Eq. 7 over 3 neighbours", "scoring.py", "b: int = 9", "b: int = 3", "test_scoring.py"),
    Mutation("threshold one rank lower", "scoring.py", "scores[rank - 1]", "scores[rank - 2]", "test_scoring.py"),
    Mutation("start from 9 points", "coreset.py", "OFFICIAL_STARTS = 10", "OFFICIAL_STARTS = 9", "test_coreset.py"),
    Mutation(
        "start by squared distances",
        "_farthest.py",
        "self._distances2(rows, x).sqrt().mean(1).square()",
        "self._distances2(rows, x).mean(1)",
        "test_coreset.py",
    ),
    Mutation(
        "projection to 64", "coreset.py", "project: int | None = 128", "project: int | None = 64", "test_coreset.py"
    ),
    Mutation("projection not scaled", "coreset.py", "(3 / width) ** 0.5", "(1 / width) ** 0.5", "test_coreset.py"),
    Mutation(
        "ties in AUROC broken by order",
        "metrics/ranking.py",
        "rankdata(scores)[labels]",
        'rankdata(scores, "ordinal")[labels]',
        "test_metrics.py",
    ),
    Mutation(
        "ties in pixel AUROC count for nothing",
        "metrics/pixels.py",
        "(int(placed.above.sum()) + int(placed.at_or_above.sum())) / (2 * pairs)",
        "int(placed.at_or_above.sum()) / pairs",
        "test_metrics.py",
    ),
    Mutation(
        "PRO up to 0.25",
        "metrics/pixels.py",
        "max_fpr: float = 0.3,\n    *,",
        "max_fpr: float = 0.25,\n    *,",
        "test_metrics.py",
    ),
    Mutation(
        "PRO in evaluate up to 0.25",
        "metrics/evaluation.py",
        "max_fpr: float = 0.3",
        "max_fpr: float = 0.25",
        "test_metrics.py",
    ),
    Mutation(
        "regions joined at edges only",
        "metrics/pixels.py",
        "connectivity: int = 8",
        "connectivity: int = 4",
        "test_metrics.py",
    ),
    Mutation(
        "masks keep half-covered pixels",
        "framing.py",
        "np.asarray(framed) == 255",
        "np.asarray(framed) >= 128",
        "test_framing.py",
    ),
    Mutation("resize to 240", "framing.py", "resize: int | None = 256", "resize: int | None = 240", "test_framing.py"),
    Mutation("nearest resize", "framing.py", "Resampling.BILINEAR", "Resampling.NEAREST", "test_framing.py"),
    Mutation("another mean", "backbones.py", "(0.485, 0.456, 0.406)", "(0.5, 0.456, 0.406)", "test_backbones.py"),
    Mutation(
        "intervals of 90 %", "metrics/evaluation.py", "level: float = 0.95", "level: float = 0.9", "test_metrics.py"
    ),
]


def failing(folder: Path, *arguments: str) -> str | None:
    """The first test that fails, or None."""
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
    recorded = {f"PCLIB_{name.upper()}": str(ROOT.parent / "shared" / name) for name in ("golden", "real")}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    ran = subprocess.run(command, cwd=folder, env=recorded | environment, capture_output=True, text=True, check=False)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.M)
    return failed[1] if failed else None


def caught_by(mutation: Mutation) -> str | None:
    """Which test notices the alteration."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for part in PARTS:
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / part)
        path = folder / "pclib" / mutation.file
        text = path.read_text(encoding="utf-8")
        if mutation.old not in text:
            raise SystemExit(f"{mutation.name}: {mutation.file} no longer holds {mutation.old!r}; mend the list")
        path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        fast = ("-m", "not real and not slow")
        return (
            failing(folder, *fast, f"tests/{mutation.tests}")
            or failing(folder, *fast, "tests")
            or failing(folder, "--nbval-lax", "--nbval-current-env", "notebooks")
        )


def main() -> int:
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    unnoticed = 0
    for mutation in [mutation for mutation in MUTATIONS if word in mutation.name]:
        test = caught_by(mutation)
        unnoticed += test is None
        print(f"{mutation.name:<44} {test or 'UNNOTICED'}", flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
