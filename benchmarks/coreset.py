"""Greedy selection: pclib beside the plain loop, the authors' loop and anomalib.

    python benchmarks/coreset.py [--rounds 3]

The features are EfficientNet-Lite0's of 209 embedded pictures, as many vectors as MVTec AD's bottle gives; a million
vectors are drawn at random in clusters. The loops cost the same for each pick, so they are timed between their 50th and
their 200th, and scaled; pclib is timed whole.
"""

from __future__ import annotations

import time
from pathlib import Path

import literal
import numpy as np
import torch
from side_by_side import Section, Watch, quiet, run, timed

from pclib.coreset import at_random, greedy, random_projection

SIZES = {"10 %": 16385, "1 %": 1638}
PREFIX = 50, 200
MILLION = 1_000_000


def prepare(folder: Path) -> None:
    """features.npy (163856, 1024), projected.npy (163856, 128), million.npy (1000000, 128)."""
    from pclib import PatchCore, Toybox

    kept = []

    def keep(features):
        kept.append(features)
        return at_random(features, 1)

    PatchCore(coreset=keep).fit(Toybox("washer", train=209, good=0, defective=0).train, progress=quiet)
    np.save(folder / "features.npy", kept[0])
    np.save(folder / "projected.npy", random_projection(kept[0], 128, np.random.default_rng(0)).numpy())
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(200, 128)) * 3
    million = np.lib.format.open_memmap(folder / "million.npy", "w+", np.float32, (MILLION, 128))
    for rows in np.array_split(np.arange(MILLION), 20):
        noise = generator.normal(size=(len(rows), 128)) * generator.uniform(0.3, 2, (len(rows), 1))
        million[rows] = centres[generator.integers(0, 200, len(rows))] + noise
    million.flush()


def loop(which, size: int, **options):
    """A loop's time for `size` picks, from what lies between two prefixes."""

    def measure(folder: Path) -> dict:
        x = torch.from_numpy(np.load(folder / "projected.npy"))
        seconds, memory = [], Watch()
        for picks in PREFIX:
            with memory:
                began = time.perf_counter()
                picked = which(x, picks, **options)
                seconds.append(time.perf_counter() - began)
        np.save(folder / f"{which.__name__}.npy", picked)
        return {"seconds": (seconds[1] - seconds[0]) / (PREFIX[1] - PREFIX[0]) * size, "MiB": memory.most}

    return measure


def anomalib(folder: Path) -> dict:
    from pclib._torchvision import import_torchvision

    import_torchvision()
    from anomalib.models.components import KCenterGreedy

    x = torch.from_numpy(np.load(folder / "features.npy"))
    seconds, memory = [], Watch()
    for picks in PREFIX:
        sampler = KCenterGreedy(x, sampling_ratio=(picks + 0.5) / len(x))
        with memory:
            began = time.perf_counter()
            sampler.select_coreset_idxs()
            seconds.append(time.perf_counter() - began)
    per_pick = (seconds[1] - seconds[0]) / (PREFIX[1] - PREFIX[0])
    return {"seconds": seconds[0] + per_pick * (SIZES["10 %"] - PREFIX[0]), "MiB": memory.most}


def ours(file: str, size: int, start: int | str = 0):
    def measure(folder: Path) -> dict:
        x = np.load(folder / file)
        greedy(x[:5000], 50, start=start, progress=quiet)  # what loads on first use is loaded
        found = timed(lambda: greedy(x, size, start=start, progress=quiet))
        np.save(folder / f"ours-{start}-{file}", found["result"].indices)
        return found

    return measure


def notes(medians: dict[str, dict], rates: dict[str, float]) -> list[str]:
    folder = Path(medians["scratch"]["folder"])

    def same(theirs: str, own: str) -> str:
        picked = np.load(folder / theirs)
        return f"{(picked == np.load(folder / own)[: len(picked)]).mean():.1%}"

    product = 2 * 163856 * SIZES["10 %"] * 128 / 1e9 / rates["float32"]
    return [
        f"The loops' seconds are scaled from picks {PREFIX[0] + 1} to {PREFIX[1]}; all picks of a loop cost the same.",
        f"Of the first {PREFIX[1]} picks, in their order, pclib's are the plain loop's in "
        f"{same('plain_loop.npy', 'ours-0-projected.npy')}, and with the official start the authors' loop's in "
        f"{same('authors_loop.npy', 'ours-official-projected.npy')}.",
        f"All distances from 163,856 vectors to 16,385 picks, as one matrix product at this machine's rate, would take "
        f"{product:.1f} s; pclib leaves most of them out. The plain loop passes over 84 MB of vectors for each pick.",
    ]


SECTION = Section(
    title="Coreset",
    work="N = 163,856 patch features of width 128, selected farthest first (N = 1,000,000 where it says so)",
    prepare=prepare,
    methods={
        "plain loop, 10 %": loop(literal.plain_loop, SIZES["10 %"]),
        "plain loop, 1 %": loop(literal.plain_loop, SIZES["1 %"]),
        "frugal loop, 10 %": loop(literal.frugal_loop, SIZES["10 %"]),
        "authors' loop, 10 %": loop(
            literal.authors_loop,
            SIZES["10 %"],
            starts=np.random.default_rng(0).choice(163856, size=10, replace=False).tolist(),
        ),
        "anomalib, 10 %, from width 1024": anomalib,
        "pclib, 10 %": ours("projected.npy", SIZES["10 %"]),
        "pclib, 1 %": ours("projected.npy", SIZES["1 %"]),
        "pclib, 10 %, official start": ours("projected.npy", SIZES["10 %"], "official"),
        "pclib, 10 %, from width 1024": ours("features.npy", SIZES["10 %"], "official"),
        "pclib, 1 % of 1,000,000": ours("million.npy", MILLION // 100),
    },
    ratios=[
        ("plain loop, 10 %", "pclib, 10 %", 50),
        ("plain loop, 1 %", "pclib, 1 %", 30),
        ("frugal loop, 10 %", "pclib, 10 %", None),
        ("authors' loop, 10 %", "pclib, 10 %, official start", None),
        ("anomalib, 10 %, from width 1024", "pclib, 10 %, from width 1024", None),
    ],
    notes=notes,
)

if __name__ == "__main__":
    run(SECTION)
