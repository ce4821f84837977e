"""A plan of cells, run here or on a cluster: what the store has is not run again, and each cell is kept at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from pclib import inventory
from pclib._checks import at_least, counted, near, some
from pclib._workers import here, on_cluster
from pclib.cells import SHOWN, TOYBOX, Cell, Measured, categories_of, named_data
from pclib.configurations import EMBEDDED, PAPER, TABLES, Configuration, find, rows_of
from pclib.forecast import Estimate, estimate
from pclib.store import Store

if TYPE_CHECKING:
    import pandas as pd


class Plan(Sequence[Cell]):
    """Cells to be measured. Shows as a table."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells = tuple({cell.key: cell for cell in cells}.values())

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, i: Any) -> Any:
        return Plan(self.cells[i]) if isinstance(i, slice) else self.cells[i]

    def __repr__(self) -> str:
        return f"{counted(len(self), 'cell')} in {counted(len(self.groups()), 'group')}"

    def _repr_html_(self) -> str:
        counts = self.frame().pivot_table("seed", ["data", "configuration"], "category", "nunique", 0, sort=False)
        return f"<p>{self!r}; seeds of each:</p>{counts.to_html()}"

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

    def due(self, store: Store) -> Plan:
        """The cells that another run of all would still have to measure: those measured least often, and never."""
        runs = store.runs()
        least = min((runs[cell.key] for cell in self.cells if cell.key in runs), default=0)
        return Plan(cell for cell in self.cells if runs.get(cell.key, 0) <= least)

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

    methods     names of the tables' rows that can be run, or configurations of your own, such as
                configurations.PAPER["PatchCore-10"].changed("PatchCore-5", coreset=0.05); None for all that can be run
    categories  None for all of the data set (of the embedded ones: three)
    data        "mvtec", "visa", "toybox", or a folder of category folders; None for the profile's: "toybox" in the demo
                profile, where the rows run with the embedded backbone on small pictures, else "mvtec"
    Raises ValueError for an unknown table, row, data set or category.
    """
    asked = [tables] if isinstance(tables, str) else list(tables)
    for table in asked:
        if table not in TABLES:
            raise ValueError(f"no table {table!r}; there is {near(table, TABLES)}")
    data = named_data(data)
    known = categories_of(data)
    for name, about in inventory.DATA_SETS.items():
        if data not in inventory.DATA_SETS and set(about.categories) <= set(known):
            warnings.warn(
                f"{data} holds the categories of {about.title}; to have its numbers known as such (and set beside "
                f"published ones), name this folder in {about.folder_variable} and use data={name!r}",
                stacklevel=2,
            )
    rows = rows_of(asked, EMBEDDED if data == TOYBOX else PAPER)
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
    again    measure all anew, as another run of the same cells, for comparison; interrupted, it goes on too
    each     called after each cell that was kept
    A cell that fails is tried again unless its input was refused; why is kept in the store and said in the report.
    Raises ValueError if another sweep is writing to the store, ConnectionError if the cluster cannot be reached.
    """
    store = Store() if store is None else store
    report = Report()
    with store.writing():
        runs = store.runs()
        todo = plan.due(store) if again else plan.missing(store)
        report.already = len(plan) - len(todo)
        outcomes = here(todo.groups()) if cluster is None else on_cluster(cluster, todo.groups())
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
            outcomes.close()  # what runs elsewhere is called off
    return report
