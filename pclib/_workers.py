"""Who measures the cells of a sweep: this process, or the workers of a Dask cluster.

Both go through groups cell after cell, so that each can be kept at once. A cluster's worker holds what the cells of its
group share. When it dies, what is left of its group goes to another one, where that is made anew.
"""

from __future__ import annotations

import re
import threading
import time
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pclib._checks import counted
from pclib._device import gibibytes
from pclib.cells import Cell, Measured
from pclib.forecast import memory

if TYPE_CHECKING:
    from distributed import Client

    from pclib.measuring import Bench

Outcome = Measured | str  # what was measured, or why it could not be
Outcomes = Generator[tuple[Cell, Outcome]]

REFUSED = (ValueError, FileNotFoundError, MemoryError)  # trying again would not help
RETRIES = 2
REACH = 5  # seconds to reach a scheduler in
PATIENCE = 10  # seconds without a worker, or without one that is large enough, before that is said
LOOK = 0.5  # seconds between looks at the workers while nothing is done
GONE = 2  # seconds that a worker must be missing from the scheduler's list
FETCH = 30  # seconds in which a finished cell's result must arrive
BASE = 2**30  # bytes that a process with its libraries and a backbone takes besides its arrays
USABLE = 0.75  # of a worker's memory limit: at 80 % Dask stops giving it work


class Holder:
    """Holds the bench of one group at a time, and turns what goes wrong into words."""

    def __init__(self) -> None:
        self.held, self.lock = "", threading.Lock()
        self.bench: Bench | None = None

    def measure(self, cell: Cell, rest: Sequence[Cell], sweep: str) -> Outcome:
        """Measure a cell of a sweep; `rest` are those of its group that are still to come, itself included."""
        from pclib.measuring import open_bench

        with self.lock:  # a worker with several threads may be given two cells
            wanted = f"{sweep} {cell.group}"  # another sweep may have other cells in mind, or changed pictures
            try:
                for attempt in range(RETRIES + 1):
                    try:
                        if self.held != wanted or self.bench is None:
                            self.bench = None  # let go of the one before the next is made
                            self.bench, self.held = open_bench(rest), wanted
                        return self.bench.measure(cell)
                    except REFUSED as error:
                        self.bench = None if isinstance(error, MemoryError) else self.bench
                        return f"{type(error).__name__}: {error}"
                    except Exception as error:
                        self.bench = None
                        if attempt == RETRIES:
                            return f"{type(error).__name__}: {error} (tried {RETRIES + 1} times)"
                raise AssertionError("the last attempt returns")
            finally:
                if len(rest) == 1:
                    self.bench = None


def here(groups: Sequence[Sequence[Cell]]) -> Outcomes:
    """Measure in this process."""
    holder, sweep = Holder(), uuid4().hex
    for cells in groups:
        for i, cell in enumerate(cells):
            yield cell, holder.measure(cell, cells[i:], sweep)


def on_cluster(cluster: Any, groups: Sequence[Sequence[Cell]]) -> Outcomes:
    """Measure on the workers of a cluster, which may come and go: one group at a time each, if it has the memory.

    Raises ConnectionError if no scheduler answers, or no longer.
    """
    client, mine = _client(cluster)
    try:
        yield from _Dispatcher(client, groups).outcomes()
    finally:
        if mine:
            client.close()


_on_worker = Holder()


def _measure_on_worker(cell: Cell, rest: Sequence[Cell], sweep: str) -> Outcome:
    return _on_worker.measure(cell, rest, sweep)


@dataclass(eq=False)
class _Group:
    """Cells of a group that are still to be measured.

    memory  bytes that a worker needs for it;  tried  workers that did not find its data or weights
    deaths  how often a worker died or left over the first cell;  begun  whether any of its cells was measured
    """

    cells: deque[Cell]
    memory: int
    tried: set[str] = field(default_factory=set)
    deaths: int = 0
    begun: bool = False

    def fail(self, why: str, whole: bool) -> Outcomes:
        """Give up the first cell; or the whole group, if the same would await the others."""
        for _ in range(len(self.cells) if whole else 1):
            yield self.cells.popleft(), why
        self.deaths = 0


class _Dispatcher:
    """Gives groups to workers. What is true is asked anew at every look; a finished cell only makes it look at once."""

    def __init__(self, client: Client, groups: Sequence[Sequence[Cell]]) -> None:
        self.client, self.sweep, self.wake = client, uuid4().hex, threading.Event()
        self.waiting = [_Group(deque(cells), BASE + (memory(cells) or 0)) for cells in groups]
        self.busy: dict[str, tuple[Any, _Group]] = {}
        self.seen: dict[str, float] = {}  # when each worker was last on the scheduler's list
        self.lacking = time.monotonic()  # since when no worker has been usable
        self.small = time.monotonic()  # since when no worker has been large enough for what waits

    def outcomes(self) -> Outcomes:
        try:
            while self.waiting or self.busy:
                workers = self._look()
                limits = {w: USABLE * (about["memory_limit"] or inf) for w, about in workers.items() if _running(about)}
                for worker in [w for w in self.busy if self._lost(w, workers)]:
                    yield from self._put_back(worker)
                for worker in [w for w, (task, _) in self.busy.items() if task.status != "pending"]:
                    yield from self._collect(worker, set(workers), limits)
                self._hand_out(limits)
                yield from self._refuse_too_large(limits)
                self.wake.wait(LOOK)
                self.wake.clear()
        except Exception as error:
            if self.client.status == "running":
                raise
            raise ConnectionError("the scheduler is gone; what was measured is kept: run again") from error
        finally:
            with suppress(Exception):  # the scheduler may be gone
                self.client.cancel([task for task, _ in self.busy.values()])

    def _look(self) -> dict[str, Any]:
        """The workers there are now, with what the scheduler knows of them."""
        if self.client.status != "running":
            raise ConnectionError(f"the client is {self.client.status}")
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        now = time.monotonic()
        self.seen |= dict.fromkeys(workers, now)
        if any(map(_running, workers.values())):
            self.lacking = now
        elif now > self.lacking + PATIENCE:
            warnings.warn(
                "the scheduler has no workers that take work; the sweep waits for some (an adaptive cluster needs a "
                "minimum of one)",
                stacklevel=2,
            )
            self.lacking = inf
        return workers

    def _lost(self, worker: str, workers: dict[str, Any]) -> bool:
        """Whether it is gone, or holds so much that Dask starts nothing there any more."""
        if worker not in workers:
            return time.monotonic() > self.seen.get(worker, 0) + GONE
        about = workers[worker]
        return not _running(about) and not about.get("metrics", {}).get("executing", 1)

    def _put_back(self, worker: str, died: bool = True) -> Outcomes:
        """Take what a worker was given from it, for another one."""
        task, group = self.busy.pop(worker)
        with suppress(Exception):
            task.cancel()
        group.deaths += died
        if group.deaths > RETRIES:
            why = f"its worker died or left {counted(group.deaths, 'time')}; out of memory?"
            yield from group.fail(why, whole=not group.begun)
        if group.cells:
            self.waiting.insert(0, group)

    def _collect(self, worker: str, workers: set[str], limits: dict[str, float]) -> Outcomes:
        task, group = self.busy[worker]
        if task.status not in ("finished", "error"):  # lost or cancelled: nobody will measure it
            yield from self._put_back(worker, died=False)
            return
        try:
            outcome = task.result(timeout=FETCH) if task.status == "finished" else f"{task.exception(timeout=FETCH)!r}"
        except (TimeoutError, CancelledError, OSError):  # the worker died with the result
            yield from self._put_back(worker)
            return
        del self.busy[worker]
        if isinstance(outcome, str) and outcome.startswith("FileNotFoundError"):
            group.tried.add(worker)
            if workers - group.tried:  # another worker may have the data
                self.waiting.append(group)
                return
        group.begun |= isinstance(outcome, Measured)
        group.deaths = 0
        cell = group.cells.popleft()
        if group.cells:
            self.waiting.insert(0, group)
            if worker in workers and worker not in group.tried:
                self._submit(worker, group)
        self._hand_out(limits)  # so that no worker waits while the outcome is written down
        yield cell, outcome

    def _hand_out(self, limits: dict[str, float]) -> None:
        for worker in sorted(set(limits) - set(self.busy)):
            for group in self.waiting:
                if group.memory <= limits[worker] and (worker not in group.tried or not set(limits) - group.tried):
                    self._submit(worker, group)
                    break

    def _submit(self, worker: str, group: _Group) -> None:
        self.waiting.remove(group)
        cells = group.cells
        task = self.client.submit(
            _measure_on_worker, cells[0], tuple(cells), self.sweep, workers=[worker], pure=False, retries=0
        )
        self.busy[worker] = (task, group)
        task.add_done_callback(lambda _: self.wake.set())

    def _refuse_too_large(self, limits: dict[str, float]) -> Outcomes:
        """Groups that no worker has had the memory for, for a while: small workers may be the first to come."""
        largest = max(limits.values(), default=inf)
        large = [group for group in self.waiting if group.memory > largest]
        if not large:
            self.small = time.monotonic()
        elif time.monotonic() > self.small + PATIENCE:
            for group in large:
                self.waiting.remove(group)
                yield from group.fail(
                    f"MemoryError: takes about {gibibytes(group.memory)}; no worker may use more than "
                    f"{gibibytes(int(largest))} ({USABLE:.0%} of its limit); start workers with more (memory_limit), "
                    "and run again",
                    whole=True,
                )


def _running(about: dict[str, Any]) -> bool:
    return about.get("status", "running") == "running"


def _client(cluster: Any) -> tuple[Client, bool]:
    """A client of the cluster, and whether it was made here."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("a cluster needs Dask: pip install distributed") from error
    if isinstance(cluster, Client):
        return cluster, False
    if isinstance(cluster, str) and not re.fullmatch(r"(tcp|tls|ucx|wss?)://.+:\d+|inproc://.+", cluster):
        raise ConnectionError(f"{cluster} is no scheduler's address; give one such as tcp://host:8786")
    try:
        return Client(cluster, timeout=REACH, set_as_default=False), True
    except (OSError, TimeoutError) as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {cluster} within {REACH} s ({type(error).__name__}); is the address "
            "right, and is it running?"
        ) from error
