"""Methods side by side: every measurement in a process of its own, methods in turn, several rounds.

A script gives `run` its methods. Each is a function of a scratch folder that prepares its work, calls `timed`, and
returns what that gives. Taking methods in turn lets a noisy neighbour disturb all alike; a process of its own makes
peak memory its own. What was measured goes into results.json, which report.py writes docs/speed.md from.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results.json"
Method = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Section:
    """What a script measures.

    work     what all methods are given, in words
    methods  name -> function of the scratch folder
    ratios   (slower, faster, bar or None): seconds of the one over seconds of the other
    notes    from name -> median measurement and the machine's rates: sentences on limits and agreement
    prepare  fills the scratch folder once for all
    environment  variables that all methods run with
    """

    title: str
    work: str
    methods: dict[str, Method]
    ratios: list[tuple[str, str, float | None]]
    notes: Callable[[dict[str, dict], dict[str, float]], list[str]]
    prepare: Callable[[Path], None] = field(default=lambda folder: None)
    environment: dict[str, str] = field(default_factory=dict)


def timed(call: Callable[[], Any], *, calls: int = 3, scale: float = 1) -> dict[str, Any]:
    """Seconds of the best of some calls, and MiB that the first needs beyond what was held before it.

    With calls=1 the first is the one that is timed; else it warms up. `scale` multiplies seconds that were measured on
    a part of the work. `result` is what the first call returned.
    """
    with Watch() as memory:
        began = time.perf_counter()
        result = call()
        seconds = [time.perf_counter() - began]
    if calls > 1:
        seconds = []
        for _ in range(calls):
            began = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - began)
    return {"seconds": min(seconds) * scale, "MiB": memory.most, "result": result}


class Watch:
    """How much the memory of this process grows from here, looked at every few milliseconds while it is entered."""

    def __init__(self) -> None:
        self.before, self.most = resident(), 0.0

    def __enter__(self) -> Watch:
        self.done = threading.Event()
        self.watcher = threading.Thread(target=self._look)
        self.watcher.start()
        return self

    def _look(self) -> None:
        while not self.done.wait(0.003):
            self.most = max(self.most, resident() - self.before)

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.watcher.join()


def resident() -> float:
    """MiB of memory that this process holds now."""
    import psutil

    return psutil.Process().memory_info().rss / 2**20


def machine(_: Path) -> dict[str, Any]:
    """What this machine does best: matrix products of 2048 x 2048 in Gflop/s, and copies of 400 MB in GB/s."""
    import torch

    a, copied = torch.randn(2048, 2048), torch.empty(10**8)
    b, source = a.bfloat16(), torch.ones(10**8)
    flops = 2 * 2048**3 / 1e9
    return {
        "seconds": 0.0,
        "MiB": 0.0,
        "float32": flops / timed(lambda: a @ a, calls=7)["seconds"],
        "bfloat16": flops / timed(lambda: b @ b, calls=7)["seconds"],
        "bandwidth": 0.8 / timed(lambda: copied.copy_(source), calls=5)["seconds"],  # read and written
    }


def quiet(items: Iterable, **_: Any) -> Iterable:
    """Instead of a progress bar."""
    return items


def run(section: Section) -> None:
    """Measure, print, and keep what was measured under the name of the script that calls this."""
    script = Path(inspect.stack()[1].filename)
    parser = argparse.ArgumentParser(description=f"{section.title}: {section.work}.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    methods = {"machine": machine, **section.methods}
    if options.one:
        found = methods[options.one[0]](Path(options.one[1]))
        print(json.dumps({key: value for key, value in found.items() if key != "result"}))
        return
    runs: dict[str, list[dict]] = {name: [] for name in methods}
    with tempfile.TemporaryDirectory() as scratch:
        section.prepare(Path(scratch))
        environment = {**os.environ, **section.environment}
        for _ in range(options.rounds):
            for name in methods:
                command = [sys.executable, str(script), "--one", name, scratch]
                found = subprocess.run(command, capture_output=True, text=True, env=environment)
                if found.returncode == 0:
                    runs[name].append(json.loads(found.stdout.splitlines()[-1]))
                else:
                    print(f"left out: {name}: {found.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        rates = _medians(runs.pop("machine"))
        medians = {name: _medians(found) for name, found in runs.items() if found}
        notes = section.notes({**medians, "scratch": {"folder": scratch}}, rates)
    kept = {
        "title": section.title,
        "work": section.work,
        "machine": {**described(), **rates},
        "methods": {
            name: {**medians[name], "least": min(r["seconds"] for r in found), "most": max(r["seconds"] for r in found)}
            for name, found in runs.items()
            if found
        },
        "ratios": [_ratio(runs, *pair) for pair in section.ratios if runs[pair[0]] and runs[pair[1]]],
        "notes": notes,
    }
    everything = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    partial = RESULTS.with_suffix(".partial")
    partial.write_text(json.dumps({**everything, script.stem: kept}, indent=1) + "\n")
    partial.replace(RESULTS)
    from report import markdown

    print(markdown(kept), flush=True)


def described() -> dict[str, Any]:
    """The machine in words."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}"
    return {"cpu": name, "cores": os.cpu_count(), "versions": versions}


def _medians(found: list[dict]) -> dict[str, Any]:
    """Of numbers the median over rounds; of all else the first."""
    return {
        key: statistics.median(one[key] for one in found) if isinstance(value, int | float) else value
        for key, value in found[0].items()
    }


def _ratio(runs: dict[str, list[dict]], slower: str, faster: str, bar: float | None) -> dict[str, Any]:
    ratios = [s["seconds"] / f["seconds"] for s, f in zip(runs[slower], runs[faster], strict=False)]
    return {
        "slower": slower,
        "faster": faster,
        "median": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "bar": bar,
    }
