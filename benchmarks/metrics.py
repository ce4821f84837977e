"""Pixel metrics side by side: time, memory beyond the arrays, and how far from exact.

    python benchmarks/metrics.py [--rounds 3]

On two synthetic sets of smooth maps, 83 x 224 x 224 and 160 x 320 x 320, under 2 % of the pixels anomalous. Every
measurement runs in a process of its own with one thread; rounds take the methods in turn, so that a noisy neighbour
disturbs all alike. Time is the best of three calls, and the table gives the median over rounds. Peers that are not
installed are left out: `pip install -e ".[bench]"` brings them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

SETS = {"A": (83, 60, 224), "B": (160, 110, 320)}  # images, defective ones among them, side
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
PEER, OURS = "peer", "pclib"


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


METHODS: dict[str, tuple[str, Callable[[], Callable]]] = {
    "PRO: pclib": (OURS, pclib_pro),
    "PRO: anomalib": (PEER, anomalib_pro),
    "pixel AUROC: scikit-learn": (PEER, scikit_learn_auroc),
    "pixel AUROC: torchmetrics": (PEER, torchmetrics_auroc),
    "both: pclib": (OURS, pclib_both),
    "both, 1000 bins: ADEval": (PEER, adeval_both),
    "intervals, 1000 replicates: pclib": (OURS, pclib_intervals),
}
RATIOS = [
    ("PRO: anomalib", "PRO: pclib"),
    ("pixel AUROC: scikit-learn", "both: pclib"),
    ("pixel AUROC: torchmetrics", "both: pclib"),
    ("both, 1000 bins: ADEval", "both: pclib"),
]


def _torch():
    import torch

    from pclib._torchvision import import_torchvision

    torch.set_num_threads(1)
    import_torchvision()
    return torch


def resident() -> float:
    """MiB of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(method: str, data: Path) -> dict[str, float | None]:
    """Seconds, MiB beyond what was held before the call (watched every millisecond), and the values."""
    call = METHODS[method][1]()
    with np.load(data) as arrays:
        masks, maps = arrays["masks"], arrays["maps"]
    call(masks[:2], maps[:2])  # what loads on first use is loaded
    before, peak, watching = resident(), [0.0], threading.Event()

    def watch() -> None:
        while not watching.wait(0.001):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    auroc, pro = call(masks, maps)
    watching.set()
    watcher.join()
    seconds = []
    for _ in range(1 if "replicates" in method else 3):
        began = time.perf_counter()
        call(masks, maps)
        seconds.append(time.perf_counter() - began)
    return {"seconds": min(seconds), "MiB": max(0.0, peak[0] - before), "auroc": auroc, "pro": pro}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "DATA"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], Path(options.one[1]))))
        return
    for name, sizes in SETS.items():
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "set.npz"
            masks, maps = smooth_set(*sizes)
            np.savez(data, masks=masks, maps=maps)
            runs: dict[str, list[dict]] = {method: [] for method in METHODS}
            for _ in range(options.rounds):
                for method in METHODS:
                    found = subprocess.run(
                        [sys.executable, __file__, "--one", method, str(data)],
                        capture_output=True,
                        text=True,
                        env={**os.environ, **ONE_THREAD},
                    )
                    if found.returncode == 0:
                        runs[method].append(json.loads(found.stdout.splitlines()[-1]))
                    else:
                        print(f"left out: {method}: {found.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        print(f"\nset {name}: {sizes[0]} x {sizes[2]} x {sizes[2]}, {masks.mean():.1%} anomalous\n")
        print("| method | seconds | MiB beyond the arrays | pixel AUROC | PRO |\n|---|---|---|---|---|")
        for method, results in runs.items():
            if results:
                seconds, memory = (statistics.median(r[key] for r in results) for key in ("seconds", "MiB"))
                values = " | ".join("" if results[0][k] is None else f"{results[0][k]:.7f}" for k in ("auroc", "pro"))
                print(f"| {method} | {seconds:.3f} | {memory:.0f} | {values} |")
        print("\n| ratio of seconds | median | least | most |\n|---|---|---|---|")
        for peer, ours in RATIOS:
            ratios = [p["seconds"] / o["seconds"] for p, o in zip(runs[peer], runs[ours], strict=False)]
            if ratios:
                print(f"| {peer} / {ours} | {statistics.median(ratios):.1f} | {min(ratios):.1f} | {max(ratios):.1f} |")


if __name__ == "__main__":
    main()
