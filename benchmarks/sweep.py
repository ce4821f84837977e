"""What a sweep adds to its cells, and how near its estimate comes.

python benchmarks/sweep.py [--rounds 3]
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

from side_by_side import Section, quiet, run, timed

from pclib import sweep
from pclib.cells import METRICS, Cell, Measured
from pclib.configurations import Configuration
from pclib.store import Store

CELLS, SECONDS, WORKERS = 200, 1.0, 4
SLEEPING = Configuration("sleeping", (), "sweep:Sleep", {"seconds": SECONDS, "number": 0})


class Sleep:
    """A bench whose cells take a known time."""

    def __init__(self, cells):
        pass

    def measure(self, cell):
        time.sleep(SECONDS)
        numbers = [f"{metric}{end}" for metric in METRICS.values() for end in ("", "_low", "_high")]
        counts = dict.fromkeys(("n_train", "n_good", "n_anomalous", "n_regions"), 1)
        return Measured(dict.fromkeys(numbers, 0.5), counts, {}, {"sleeping": SECONDS}, 1, {})


def without(folder: Path) -> dict:
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(time.sleep, [0.0] * WORKERS))
        return timed(lambda: list(pool.map(time.sleep, [SECONDS] * CELLS)), calls=1)


def on_cluster(folder: Path) -> dict:
    from distributed import LocalCluster

    rows = [SLEEPING.changed(f"sleeping {n}", number=n) for n in range(CELLS)]
    plan = sweep.Plan(Cell(row, "toybox", "washer", 0) for row in rows)
    store = Store(mkdtemp(dir=folder))
    with LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster:
        found = timed(lambda: sweep.run(plan, store, cluster), calls=1)
    assert found["result"].measured == CELLS == len(store)
    return found


def estimated(folder: Path) -> dict:
    found = sweep.plan(data="toybox").estimate(progress=quiet)
    return {"seconds": found.on(1), "MiB": found.memory / 2**20}


def measured(folder: Path) -> dict:
    store = Store(mkdtemp(dir=folder))
    found = timed(lambda: sweep.run(sweep.plan(data="toybox"), store), calls=1)
    assert not found["result"].failed
    return {**found, "MiB": store.frame().memory.max() / 2**20}


def notes(medians: dict[str, dict], rates: dict[str, float]) -> list[str]:
    least = CELLS * SECONDS / WORKERS
    added = medians["sleeping cells: sweep"]["seconds"] / least - 1
    said, took = medians["toybox: estimate"], medians["toybox: run"]
    return [
        f"{CELLS} cells of {SECONDS:g} s cannot take less than {least:g} s on {WORKERS} workers; the sweep takes "
        f"{added:.1%} more, with every cell kept in the store when it is done.",
        "Of the toybox's cells (three categories, tables S1-S4) the estimate is "
        f"{said['seconds'] / took['seconds']:.2f} of the time that they took and {said['MiB'] / took['MiB']:.2f} of "
        "the memory, which for these two is that of the whole process.",
    ]


SECTION = Section(
    title="Sweeps",
    work=f"{CELLS} cells that sleep for {SECONDS:g} s, {WORKERS} at a time; and the toybox's tables, estimated and run",
    methods={
        "sleeping cells: process pool": without,
        "sleeping cells: sweep": on_cluster,
        "toybox: estimate": estimated,
        "toybox: run": measured,
    },
    ratios=[
        ("sleeping cells: sweep", "sleeping cells: process pool", 1.05),
        ("toybox: run", "toybox: estimate", None),
    ],
    notes=notes,
    environment={"PYTHONPATH": str(Path(__file__).parent), "TQDM_DISABLE": "1"},
)

if __name__ == "__main__":
    run(SECTION)
