"""The methods next door and PatchCore on the same categories, beside two baselines that need no network.

    python benchmarks/methods.py [FOLDER] [--toybox] [CATEGORY ...] [--csv FILE]

FOLDER holds categories in MVTec AD layout, looked at as 224 of 256 pixels; --toybox adds the embedded ones, with the
pictures of their tables, as 112 of 128. Every measurement runs in a process of its own, so that its peak memory is its
own, libraries included. Pictures are read from files by all, and maps are computed while the clock runs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pclib.detector import Scores
    from pclib.samples import Sample

FULL, SMALL = {"resize": 256, "crop": 224}, {"resize": 128, "crop": 112}
LITE = {"backbone": "tf_efficientnet_lite0"}
REFERENCE = "PatchCore 10 %"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    REFERENCE: ("pclib:PatchCore", {**LITE, "coreset": 0.1, "seed": 0}),
    "PaDiM Rd100": ("pclib.methods:PaDiM", {**LITE, "channels": 100, "seed": 0}),
    "PaDiM all": ("pclib.methods:PaDiM", {**LITE, "channels": None}),
    "SPADE K=5": ("pclib.methods:SPADE", {**LITE, "neighbors": 5}),
    "SPADE K≤50": ("pclib.methods:SPADE", {**LITE, "neighbors": 50}),  # all, where there are fewer
    "MahalanobisAD": ("pclib.methods:MahalanobisAD", LITE),
    "MahalanobisAD npca": ("pclib.methods:MahalanobisAD", {**LITE, "npca": 0.01, "augmentation": 10, "seed": 0}),
    "OCSVM": ("pclib.methods:OCSVM", LITE),
    "pixel mean": ("__main__:PixelMean", {}),
    "mean intensity": ("__main__:MeanIntensity", {}),
}
BASELINES = ("pixel mean", "mean intensity")
METRICS = {"image AUROC": "image_auroc", "pixel AUROC": "pixel_auroc", "PRO": "pro"}
SIGMA = 4.0


class PixelMean:
    """Scores a pixel by how far its colour lies from the mean of the good pictures there, blurred as all maps are, and
    the picture by the maximum."""

    def __init__(self, resize: int, crop: int) -> None:
        from pclib.framing import Framing

        self.framing = Framing(resize, crop)

    def fit(self, samples: Sequence[Sample]) -> None:
        self.mean = self.pixels(samples).mean(0)

    def score(self, samples: Sequence[Sample]) -> Scores:
        from pclib.detector import Scores
        from pclib.scoring import AnomalyMaps, image_scores

        apart = np.abs(self.pixels(samples) - self.mean).mean(-1, dtype=np.float32)
        maps = AnomalyMaps(apart, self.framing.crop, SIGMA)
        return Scores(image_scores(maps[:]), maps, list(samples), self.framing)

    def pixels(self, samples: Sequence[Sample]) -> np.ndarray:
        from pclib.framing import read

        return read(samples, self.framing).pixels.astype(np.float32)


class MeanIntensity(PixelMean):
    """Scores a picture by how far its mean over all pixels and channels lies from that of the good ones. No maps."""

    def score(self, samples: Sequence[Sample]) -> Scores:
        from pclib.detector import Scores

        image = np.abs(self.pixels(samples).mean((1, 2, 3)) - self.mean.mean())
        return Scores(image, None, list(samples), self.framing)


def measure(folder: str, method: str, resize: int, crop: int) -> dict[str, Any]:
    """Fit and score one category. Libraries and backbone are loaded before the clock runs."""
    import faiss  # noqa: F401  these three, or the first to need them would load them while the clock runs
    from sklearn import covariance, svm  # noqa: F401

    from pclib import evaluate, open_category, scoring  # noqa: F401

    category = open_category(folder)
    where, parameters = METHODS[method]
    if "neighbors" in parameters:
        parameters = {**parameters, "neighbors": min(parameters["neighbors"], len(category.train))}
    detector = resolve_name(where)(**parameters, resize=resize, crop=crop)
    began = time.perf_counter()
    detector.fit(category.train)
    fitted = time.perf_counter()
    scores = detector.score(category.test)
    _ = scores.pixel
    scored = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = evaluate(scores)
    numbers = {name: getattr(found, attribute) for name, attribute in METRICS.items()}
    ends = {name: getattr(found, f"{attribute}_interval") or (None, None) for name, attribute in METRICS.items()}
    return {
        "numbers": {
            **{"train": len(category.train), "good": found.n_good, "anomalous": found.n_anomalous},
            **{
                f"{name}{end}": v
                for name in METRICS
                for end, v in zip(("", " low", " high"), (numbers[name], *ends[name]), strict=True)
            },
            **{"fit s": fitted - began, "score s": scored - fitted, "MiB": memory},
        },
        "defects": {
            d.defect: {name: getattr(d, attribute) for name, attribute in METRICS.items()} for d in found.by_defect
        },
        "labels": [sample.label for sample in category.test],
        "scores": scores.image.tolist(),
    }


def in_own_process(folder: Path, method: str, framed: dict[str, int]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", method, str(folder), str(framed["resize"]), str(framed["crop"])]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(f"{method} on {folder.name}: {ran.stderr.strip().splitlines()[-1]}")
    return json.loads(ran.stdout.splitlines()[-1])


def compared(labels: list[int], scores: list[float], with_: list[float]) -> dict[str, float]:
    """The difference in image AUROC from PatchCore's, on the same pictures."""
    from pclib.metrics import compare_auroc

    found = compare_auroc(np.array(labels), np.array(scores), np.array(with_))
    low, high = found.interval
    return {"difference": found.difference, "difference low": low, "difference high": high, "p": found.p}


def measured(folder: Path, framed: dict[str, int]) -> list[dict[str, Any]]:
    """All methods on one category: a row for all defects together, then one for each kind."""
    rows: list[dict[str, Any]] = []
    reference: list[float] = []
    for method in METHODS:
        found = in_own_process(folder, method, framed)
        reference = found["scores"] if method == REFERENCE else reference
        apart = {} if method == REFERENCE else compared(found["labels"], found["scores"], reference)
        name = {"category": folder.name, "method": method}
        rows.append({**name, "defect": "all", **found["numbers"], **apart})
        rows += [{**name, "defect": defect, **numbers} for defect, numbers in found["defects"].items()]
        print(f"{folder.name}: {method}", file=sys.stderr, flush=True)
    return rows


def ends(row: pd.Series, metric: str) -> str:
    if pd.isna(row[metric]):
        return ""
    return f"{row[metric]:.4f} ({row[f'{metric} low']:.3f} to {row[f'{metric} high']:.3f})"


def markdown(rows: pd.DataFrame) -> str:
    """The table of one category; p is of the difference."""
    first = rows.iloc[0]
    lines = [
        f"### {first['category']}: {first['train']:.0f} to train on, {first['good']:.0f} good, "
        f"{first['anomalous']:.0f} anomalous",
        "",
        f"| method | image AUROC | from {REFERENCE} | p | pixel AUROC | PRO | fit s | score s | MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for _, row in rows.iterrows():
        apart, p = "", ""
        if not pd.isna(row["p"]):
            apart = f"{row['difference']:+.4f} ({row['difference low']:+.3f} to {row['difference high']:+.3f})"
            p = f"{row['p']:.2g}"
        pixel = "" if pd.isna(row["pixel AUROC"]) else f"{row['pixel AUROC']:.4f}"
        cells = [row["method"], ends(row, "image AUROC"), apart, p, pixel, ends(row, "PRO")]
        cells += [f"{row['fit s']:.2f}", f"{row['score s']:.2f}", f"{row['MiB']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- {sentence}" for sentence in below(rows))]
    return "\n".join(lines)


def below(rows: pd.DataFrame) -> list[str]:
    """Which method lies below a baseline, in what."""
    numbers = rows.set_index("method")[list(METRICS)]
    best = numbers.loc[list(BASELINES)]
    return [
        f"{method}: {metric} {value:.4f} is below {best[metric].idxmax()}'s {best[metric].max():.4f}."
        for method, values in numbers.drop(list(BASELINES)).iterrows()
        for metric, value in values.items()
        if value < best[metric].max()
    ]


def folders(options: argparse.Namespace, scratch: Path) -> list[tuple[Path, dict[str, int]]]:
    """The categories to measure, with how they are framed. The embedded ones are written to files first."""
    from pclib.cells import PICTURES
    from pclib.export import export
    from pclib.toybox import NAMES, Toybox

    wanted = list(options.categories)
    real = Path(wanted.pop(0)) if wanted and Path(wanted[0]).is_dir() else None
    there = [] if real is None else sorted(p.resolve() for p in real.iterdir() if (p / "train").is_dir())
    drawn = list(NAMES) if options.toybox else []
    known = [*(folder.name for folder in there), *drawn]
    if unknown := [name for name in wanted if name not in known] or not known:
        sys.exit(f"no categories {unknown}: there are {known}" if known else "give a folder of categories, or --toybox")
    chosen = [(folder, FULL) for folder in there if not wanted or folder.name in wanted]
    if drawn := [name for name in drawn if not wanted or name in wanted]:
        export([Toybox(name, **PICTURES) for name in drawn], scratch / "toybox")
    return chosen + [(scratch / "toybox" / name, SMALL) for name in drawn]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("categories", nargs="*", metavar="[FOLDER] CATEGORY", help="a folder, and names [all]")
    parser.add_argument("--toybox", action="store_true", help="the embedded categories too")
    parser.add_argument(
        "--csv", type=Path, help="also write all numbers to this file, and those of each kind of defect"
    )
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args()
    if options.one:
        method, folder, resize, crop = options.one
        print(json.dumps(measure(folder, method, int(resize), int(crop))))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for folder, framed in folders(options, Path(scratch)):
            found = measured(folder, framed)
            table = pd.DataFrame(found)
            print(markdown(table[table["defect"] == "all"]) + "\n", flush=True)
            rows += found
            if options.csv:
                pd.DataFrame(rows).to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
