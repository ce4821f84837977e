"""A plan of cells, run here or on a Dask cluster. What the store has is not run again, and each cell is kept at once.

Cells of a group share their pictures and features, so one worker does them one after another. On a cluster every cell
is a task of its own; its worker keeps the group's bench for the next one. When a worker dies, its cell goes elsewhere
and the bench is made anew there.
"""

from __future__ import annotations

import queue
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from pclib._checks import at_least, counted, near, some
from pclib._device import gibibytes
from pclib.cells import SHOWN, TOYBOX, Cell, Measured, categories_of, default_data
from pclib.configurations import EMBEDDED, PAPER, TABLES, Configuration, find
from pclib.forecast import Estimate, estimate, memory
from pclib.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from pclib.measuring import Bench

REFUSED = (ValueError, FileNotFoundError, MemoryError)  # trying again would not help
RETRIES = 2
REACH = 5  # seconds to reach a scheduler in
PATIENCE = 5  # seconds without any worker before that is said
LOOK = 0.5  # seconds between looks at which workers there are, while nothing is done


class Plan(Sequence[Cell]):
    """Cells to be measured. Shows as a table."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells = tuple(dict.fromkeys(cells))

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, i: Any) -> Any:
        return Plan(self.cells[i]) if isinstance(i, slice) else self.cells[i]

    def __repr__(self) -> str:
        return f"{counted(len(self), 'cell')} in {counted(len(self.groups()), 'group')}"

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>{self.frame().to_html()}"

    def groups(self) -> list[list[Cell]]:
        """The cells that share their pictures and features, together."""
        groups: dict[str, list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault(cell.group, []).append(cell)
        return list(groups.values())

    def missing(self, store: Store) -> Plan:
        """The cells that the store has no measurement of."""
        known = store.runs()
        return Plan(cell for cell in self.cells if cell.key not in known)

    def estimate(self, store: Store | None = None, *, progress: Callable[..., Any] = tqdm) -> Estimate:
        """What running it would take on machines like this one, without the cells that the store has.

        The stages are measured first, which takes seconds to minutes, unless the store knows their costs.
        """
        todo = self if store is None else self.missing(store)
        return estimate(todo.groups(), store, progress=progress)

    def frame(self) -> pd.DataFrame:
        """One line for each cell."""
        import pandas as pd

        columns = ["configuration", "data", "category", "seed"]
        return pd.DataFrame([[c.configuration.name, c.data, c.category, c.seed] for c in self.cells], columns=columns)


def plan(
    tables: str | Iterable[str] = TABLES,
    methods: str | Configuration | Iterable[str | Configuration] | None = None,
    categories: str | Iterable[str] | None = None,
    seeds: int = 1,
    data: str | None = None,
) -> Plan:
    """The cells behind some tables: every configuration on every category with seeds 0 to seeds - 1.

    methods     names of the tables' rows that can be run, or configurations of your own; None for all that can be
    categories  None for all of the data set (of the embedded ones: three)
    data        "mvtec", "visa", "toybox", or a folder of category folders; None for the profile's: "toybox" in the demo
                profile, where the rows run with the embedded backbone on small pictures, else "mvtec"
    Raises ValueError for an unknown table, row, data set or category.
    """
    asked = [tables] if isinstance(tables, str) else list(tables)
    for table in asked:
        if table not in TABLES:
            raise ValueError(f"no table {table!r}; there is {near(table, TABLES)}")
    data = data or default_data()
    known = categories_of(data)
    rows = {n: c for n, c in (EMBEDDED if data == TOYBOX else PAPER).items() if set(c.tables) & set(asked)}
    chosen = find(list(rows) if methods is None else methods, rows)
    names = [categories] if isinstance(categories, str) else list(categories or (SHOWN if data == TOYBOX else known))
    for name in names:
        if name not in known:
            raise ValueError(f"{data} has no category {name!r}; it has {near(name, known, most=len(known))}")
    numbers = range(at_least("seeds", seeds, 1))
    return Plan(Cell(row, data, name, seed) for name in names for seed in numbers for row in chosen)


@dataclass
class Report:
    """What a sweep did: how many cells it measured, how many were there already, and why others failed."""

    measured: int = 0
    already: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        reasons: dict[str, list[str]] = {}
        for cell, why in self.failed.items():
            reasons.setdefault(why, []).append(cell)
        head = f"{self.measured} cells measured, {self.already} were there already, {len(self.failed)} failed"
        return "\n".join([head, *(f"  {some(cells)}: {why}" for why, cells in reasons.items())])


def run(
    plan: Plan,
    store: Store | None = None,
    cluster: Any = None,
    *,
    again: bool = False,
    each: Callable[[Cell], None] | None = None,
    progress: Callable[..., Any] = tqdm,
) -> Report:
    """Measure the cells of a plan that the store lacks, and keep each at once. Stopped at any moment, it can be rerun.

    cluster  None for this process; or a Dask client, a cluster, or the address of a scheduler
    again    measure all anew, as another run of the same cells, for comparison
    each     called after each cell that was kept
    A cell that fails is tried again unless its input was refused; why is kept in the store and said in the report.
    Raises ValueError if another sweep is writing to the store, ConnectionError if the cluster cannot be reached.
    """
    store = Store() if store is None else store
    report = Report()
    with store.writing():
        runs = store.runs()
        todo = plan if again else plan.missing(store)
        report.already = len(plan) - len(todo)
        outcomes = _here(todo.groups()) if cluster is None else _on_cluster(cluster, todo.groups())
        bar = progress(total=len(todo), desc="cells", unit="cell")
        try:
            for cell, outcome in outcomes:
                if isinstance(outcome, Measured):
                    store.add(cell, outcome, runs.get(cell.key, 0) + 1)
                    report.measured += 1
                    if each is not None:
                        each(cell)
                else:
                    store.add_failure(cell, outcome)
                    report.failed[str(cell)] = outcome
                bar.update()
        finally:
            bar.close()
            outcomes.close()
    return report


Outcome = Measured | str
Outcomes = Iterator[tuple[Cell, Outcome]]


def _here(groups: Sequence[Sequence[Cell]]) -> Any:
    for cells in groups:
        bench = Holder()
        for i, cell in enumerate(cells):
            yield cell, bench.measure(cell, cells[i:])


class Holder:
    """Holds the bench of one group at a time, and turns what goes wrong into words."""

    def __init__(self) -> None:
        self.group, self.lock = "", threading.Lock()
        self.bench: Bench | None = None

    def measure(self, cell: Cell, rest: Sequence[Cell]) -> Outcome:
        """Measure a cell; `rest` are those of its group that are still to come, itself included."""
        from pclib.measuring import open_bench

        with self.lock:  # a worker with several threads may be given two cells
            for attempt in range(RETRIES + 1):
                try:
                    if self.group != cell.group or self.bench is None:
                        self.bench = None  # let go of the one before the next is made
                        self.bench, self.group = open_bench(rest), cell.group
                    return self.bench.measure(cell)
                except REFUSED as error:
                    return f"{type(error).__name__}: {error}"
                except Exception as error:
                    self.bench = None
                    if attempt == RETRIES:
                        return f"{type(error).__name__}: {error} (tried {RETRIES + 1} times)"
            raise AssertionError("the last attempt returns")


_on_worker = Holder()


def _measure_on_worker(cell: Cell, rest: Sequence[Cell]) -> Outcome:
    return _on_worker.measure(cell, rest)


def _on_cluster(cluster: Any, groups: Sequence[Sequence[Cell]]) -> Any:
    """Give each worker one group at a time, cell after cell, if it has the memory; workers may come and go."""
    client, mine = _client(cluster)
    waiting, busy = [_Lent(deque(cells), memory(cells) or 0) for cells in groups], {}
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def submit(worker: str, group: _Lent) -> None:
        cells = group.cells
        task = client.submit(_measure_on_worker, cells[0], tuple(cells), workers=[worker], pure=False)
        busy[worker] = (task, group)
        task.add_done_callback(lambda task, worker=worker: done.put((worker, task)))

    try:
        alone = time.monotonic()
        while waiting or busy:
            if client.status != "running":
                raise ConnectionError("the scheduler is gone; what was measured is kept: run again")
            workers = client.scheduler_info(n_workers=-1)["workers"]
            limits = {worker: about["memory_limit"] or inf for worker, about in workers.items()}
            for worker in set(busy) - set(limits):  # it died, or left
                task, group = busy.pop(worker)
                task.cancel()
                group.deaths += 1
                if group.deaths > RETRIES:
                    yield group.cells.popleft(), f"its worker died {group.deaths} times; out of memory?"
                    group.deaths = 0
                waiting += [group] if group.cells else []
            for worker in sorted(set(limits) - set(busy)):
                fitting = next((group for group in waiting if group.memory <= limits[worker]), None)
                if fitting is not None:
                    waiting.remove(fitting)
                    submit(worker, fitting)
            if limits:
                alone = time.monotonic()
                for group in [group for group in waiting if group.memory > max(limits.values())]:
                    waiting.remove(group)
                    why = _too_small(group.memory, max(limits.values()))
                    yield from ((cell, why) for cell in group.cells)
            elif time.monotonic() > alone + PATIENCE:
                warnings.warn("the scheduler has no workers; the sweep waits for some", stacklevel=2)
                alone = inf
            try:
                worker, task = done.get(timeout=LOOK)
            except queue.Empty:
                continue
            if worker not in busy or busy[worker][0] is not task or task.status in ("lost", "cancelled"):
                continue
            group = busy.pop(worker)[1]
            failed = task.status == "error"
            yield group.cells.popleft(), f"{task.exception()!r}" if failed else task.result()
            group.deaths = 0
            if group.cells and worker in limits:
                submit(worker, group)
            elif group.cells:
                waiting.insert(0, group)
    finally:
        for task, _ in busy.values():
            task.cancel()
        if mine:
            client.close()


@dataclass
class _Lent:
    """The cells of a group that are still to be measured, the bytes it takes, and how often its worker died over the
    first of them."""

    cells: deque[Cell]
    memory: int
    deaths: int = 0


def _too_small(needed: float, largest: float) -> str:
    return (
        f"MemoryError: takes about {gibibytes(int(needed))}; no worker may use more than {gibibytes(int(largest))}; "
        "start workers with more (memory_limit), and run again"
    )


def _client(cluster: Any) -> tuple[Client, bool]:
    """A client of the cluster, and whether it was made here."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("a cluster needs Dask: pip install distributed") from error
    if isinstance(cluster, Client):
        return cluster, False
    try:
        return Client(cluster, timeout=REACH, set_as_default=False), True
    except (OSError, TimeoutError) as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {cluster} within {REACH} s ({type(error).__name__}); is the address "
            "right, and is it running?"
        ) from error
