"""Pixel metrics: pclib beside scikit-learn, torchmetrics, anomalib and ADEval.

    python benchmarks/metrics.py [--rounds 3]

On two synthetic sets of smooth maps, under 2 % of the pixels anomalous, with one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from side_by_side import Section, run, timed

SETS = {"A": (83, 60, 224), "B": (160, 110, 320)}  # images, defective ones among them, side
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def smooth_set(images: int, defective: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (n, h, w) bool and maps float32: smooth noise, and one to three blurred discs in each defective image."""
    generator = np.random.default_rng(0)
    masks, maps = np.zeros((images, side, side), dtype=bool), np.empty((images, side, side), dtype=np.float32)
    rows, columns = np.mgrid[:side, :side]
    for i in range(images):
        noise = gaussian_filter(generator.normal(size=(side, side)), 6)
        maps[i] = noise / noise.std()
        for _ in range(generator.integers(1, 4) if i < defective else 0):
            radius = generator.uniform(0.03, 0.09) * side
            row, column = generator.uniform(0.1 * side, 0.9 * side, 2)
            squared = (rows - row) ** 2 + (columns - column) ** 2
            masks[i] |= squared < radius**2
            maps[i] += generator.uniform(0.5, 4) * np.exp(-squared / (2 * radius**2))
    return masks, maps


def pclib_pro() -> Callable:
    from pclib.metrics import pro

    return lambda masks, maps: (None, pro(masks, maps))


def pclib_both() -> Callable:
    from pclib.metrics import pixel_metrics

    def call(masks, maps):
        found = pixel_metrics(masks, maps)
        return found.pixel_auroc, found.pro[0.3]

    return call


def pclib_intervals() -> Callable:
    from pclib.metrics import pixel_intervals

    def call(masks, maps):
        pixel_intervals(masks, maps, replicates=1000)
        return None, None

    return call


def scikit_learn_auroc() -> Callable:
    from sklearn.metrics import roc_auc_score

    return lambda masks, maps: (roc_auc_score(masks.ravel(), maps.ravel()), None)


def torchmetrics_auroc() -> Callable:
    torch = _torch()
    from torchmetrics.functional.classification import binary_auroc

    return lambda masks, maps: (
        float(binary_auroc(torch.from_numpy(maps).ravel(), torch.from_numpy(masks).ravel().int(), validate_args=False)),
        None,
    )


def anomalib_pro() -> Callable:
    torch = _torch()
    from anomalib.metrics.aupro import _AUPRO

    def call(masks, maps):
        metric = _AUPRO(fpr_limit=0.3)
        metric.update(torch.from_numpy(maps), torch.from_numpy(masks).int())
        return None, float(metric.compute())

    return call


def adeval_both() -> Callable:
    vars(np).setdefault("trapz", np.trapezoid)  # ADEval 1.1 calls what NumPy 2.4 dropped
    from adeval import EvalAccumulator

    def call(masks, maps):
        low, high = float(maps.min()), float(maps.max())
        accumulator = EvalAccumulator(low, high, low, high)
        accumulator.add_anomap_batch(maps, masks.astype(np.uint8))
        for mask, anomaly_map in zip(masks, maps, strict=True):
            accumulator.add_image(float(anomaly_map.max()), int(mask.any()))
        found = accumulator.summary()
        return found["p_auroc"], found["p_aupro"]

    return call


def _torch():
    import torch

    from pclib._torchvision import import_torchvision

    torch.set_num_threads(1)
    import_torchvision()
    return torch


CALLS: dict[str, Callable[[], Callable]] = {
    "PRO, pclib": pclib_pro,
    "PRO, anomalib": anomalib_pro,
    "pixel AUROC, scikit-learn": scikit_learn_auroc,
    "pixel AUROC, torchmetrics": torchmetrics_auroc,
    "both, pclib": pclib_both,
    "both with 1000 bins, ADEval": adeval_both,
    "intervals of both, 1000 replicates, pclib": pclib_intervals,
}
RATIOS = [
    ("PRO, anomalib", "PRO, pclib", 10),
    ("pixel AUROC, scikit-learn", "both, pclib", 6),
    ("pixel AUROC, torchmetrics", "both, pclib", None),
    ("both with 1000 bins, ADEval", "both, pclib", 1),
]


def prepare(folder: Path) -> None:
    for name, sizes in SETS.items():
        masks, maps = smooth_set(*sizes)
        np.savez(folder / f"{name}.npz", masks=masks, maps=maps)


def method(which: str, name: str):
    def measure(folder: Path) -> dict:
        call = CALLS[name]()
        with np.load(folder / f"{which}.npz") as arrays:
            masks, maps = arrays["masks"], arrays["maps"]
        call(masks[:2], maps[:2])  # what loads on first use is loaded
        found = timed(lambda: call(masks, maps), calls=1 if "replicates" in name else 3)
        return {**found, "pixel AUROC": found["result"][0], "PRO": found["result"][1]}

    return measure


def notes(medians: dict[str, dict], rates: dict[str, float]) -> list[str]:
    told = []
    for metric in ("pixel AUROC", "PRO"):
        values = [f"{name} {found[metric]:.7f}" for name, found in medians.items() if found.get(metric) is not None]
        told.append(f"{metric}: {'; '.join(values)}.")
    return told


SECTION = Section(
    title="Pixel metrics",
    work="maps and masks, set A 83 x 224 x 224 and set B 160 x 320 x 320, one thread",
    prepare=prepare,
    methods={f"{which}: {name}": method(which, name) for which in SETS for name in CALLS},
    ratios=[(f"{which}: {slow}", f"{which}: {fast}", bar) for which in SETS for slow, fast, bar in RATIOS],
    notes=notes,
    environment=ONE_THREAD,
)

if __name__ == "__main__":
    run(SECTION)
