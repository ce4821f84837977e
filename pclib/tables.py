"""Tables S1-S4: as published, as measured here, and side by side.

Numbers are in percent, as in the paper. What was measured on other data than MVTec AD has a table of its own and is
never set beside the published numbers.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import hypot, nan
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import pandas as pd

from pclib import inventory
from pclib._checks import one_of
from pclib.cells import METRICS, SHOWN, TOYBOX, Cell, categories_of, default_data
from pclib.configurations import EMBEDDED, PAPER, Configuration, find
from pclib.published import (
    AVERAGE,
    TABLES,
    audit,
    last_digit,
    printed,
    published,
    ranking,
    sources,
    wins,
)
from pclib.published import METRICS as METRICS_OF
from pclib.store import Store

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

__all__ = [
    "audit",
    "compare",
    "download",
    "drift",
    "live",
    "measured",
    "printed",
    "published",
    "ranking",
    "show",
    "sources",
    "trace",
    "wins",
]

PUBLISHED_ON = "mvtec"
WITHIN, ABOVE, BELOW = "within", "above", "below"
SIGNS = {WITHIN: "●", ABOVE: "▲", BELOW: "▼"}
COLOURS = {WITHIN: "#e8eef4", ABOVE: "#a6cee3", BELOW: "#fdc086"}  # told apart by colour-blind eyes, and by their signs
TRIED = 10  # seeds whose failures are looked at, to say why a cell is missing
Rows = Iterable[str | Configuration] | None


@dataclass(frozen=True)
class _Entry:
    """What is known of one configuration on one category, over all seeds that were measured."""

    values: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    missing: str = ""

    @property
    def mean(self) -> float:
        return fmean(self.values) if self.values else nan


def measured(
    table: str, store: Store | None = None, *, data: str | None = None, methods: Rows = None, seeds: int | None = None
) -> pd.DataFrame:
    """A table as measured here, in the form of `published`: percent, means over seeds, NaN for what is not measured.

    data     "mvtec", "visa", "toybox" or a folder; None for the profile's
    methods  None for the table's rows that can be run; or names of them, or configurations of your own
    seeds    only 0 to seeds - 1; None for all that were measured
    The average is NaN until all categories are measured. Raises ValueError for an unknown table, data set or row.
    """
    lines = _lines(table, store, data, methods, seeds)
    frame = pd.DataFrame(lines, columns=["method", "metric", "category", "measured"])
    return _wide(frame, table, "measured")


def compare(
    table: str, store: Store | None = None, *, data: str | None = None, methods: Rows = None, seeds: int | None = None
) -> pd.DataFrame:
    """Published and measured side by side, one line for each row that can be run, metric and category; percent.

    measured   mean over `seeds` seeds; `spread` is their standard deviation, NaN for one
    low, high  ends of the 95 % interval: what as many other test pictures could have given. Means over seeds; of an
               average, the categories' half widths added as independent errors are
    difference measured less published
    verdict    "within" if some value that rounds to the published one lies in the interval, else "above" or "below":
               where the measured value lies
    missing    why there is no measured value: no data, no weights, failed (with what was said), not run

    On other data than MVTec AD nothing is published: these columns are then not there. Raises as `measured` does.
    """
    name = data or default_data()
    lines = pd.DataFrame(_lines(table, store, name, methods, seeds))
    if name != PUBLISHED_ON:
        return lines
    text, beside = printed(table), []
    for line in lines.itertuples():
        row = (line.method, line.metric) if table == "S4" else line.method
        value = text[line.category].get(row, "-")
        known = nan if value == "-" else float(value)
        reach = 0.0 if value == "-" else float(last_digit(value)) / 2
        beside.append([known, line.measured - known, _verdict(known, reach, line.measured, line.low, line.high)])
    lines[["published", "difference", "verdict"]] = pd.DataFrame(
        beside, lines.index, ["published", "difference", "verdict"]
    )
    shown = ["published", "measured", "low", "high", "seeds", "spread", "difference", "verdict", "missing"]
    return lines[["method", "metric", "category", *shown]]


def show(
    table: str, store: Store | None = None, *, data: str | None = None, methods: Rows = None, seeds: int | None = None
) -> Styler:
    """`compare` as a table to look at: a row for each method, a column for each category.

    On MVTec AD every cell says what was measured, where that lies, and the difference to the published value; on other
    data what was measured, with its interval. Cells without a number say why.
    """
    name = data or default_data()
    lines = compare(table, store, data=name, methods=methods, seeds=seeds)
    beside = "published" in lines
    words = [_words(line, beside) for line in lines.itertuples()]
    verdicts = lines["verdict"] if beside else pd.Series("", lines.index)
    text = _wide(lines.assign(words=words), table, "words")
    colour = _wide(
        lines.assign(colour=[f"background-color: {COLOURS.get(v, 'white')}" for v in verdicts]), table, "colour"
    )
    metric = ", ".join(METRICS_OF[table])
    caption = f"Table {table}, {metric} in percent, "
    if beside:
        legend = "; ".join(f"{sign} {_LEGEND[verdict]}" for verdict, sign in SIGNS.items())
        caption += f"measured on MVTec AD, and the difference to the published value. {legend}"
    else:
        caption += f"measured on {name}, with 95 % intervals; not to be compared with the paper's"
    styled = text.style.apply(lambda _: colour, axis=None).set_caption(caption).set_uuid(f"table-{table}")
    return styled.set_table_attributes('class="dataframe"').set_properties(
        None, **{"color": "black", "text-align": "center", "white-space": "nowrap"}
    )


def drift(store: Store | None = None) -> pd.DataFrame:
    """Cells measured more than once: the last run beside the one before, and what changed between the two.

    One line for each metric of each such cell; percent. `changed` names those of data, weights, code, versions and host
    that differ.
    """
    store = Store() if store is None else store
    runs: dict[str, list[dict[str, Any]]] = {}
    for row in store.rows():
        runs.setdefault(row["cell"], []).append(row)
    lines = []
    for before, last in (rows[-2:] for rows in runs.values() if len(rows) > 1):
        facts = sorted({*before["provenance"], *last["provenance"]})
        changed = [fact for fact in facts if before["provenance"].get(fact) != last["provenance"].get(fact)]
        for shown, name in METRICS.items():
            old, new = _percent(before[name]), _percent(last[name])
            where = {key: last[key] for key in ("configuration", "data", "category", "seed")}
            lines.append(
                {**where, "metric": shown, "before": old, "last": new, "difference": new - old, "run": last["run"]}
                | {"changed": ", ".join(changed) or "nothing"}
            )
    columns = ["configuration", "data", "category", "seed", "metric", "before", "last", "difference", "run", "changed"]
    return pd.DataFrame(lines, columns=columns)


def trace(method: str, category: str, store: Store | None = None, *, data: str | None = None) -> pd.DataFrame:
    """What a number rests on: every measurement of a configuration on a category, a column for each.

    Raises ValueError if there is none.
    """
    store, name = Store() if store is None else store, data or default_data()
    frame = store.frame(latest=False)
    if len(frame):
        chosen = (frame.configuration == method) & (frame.category == category) & (frame.data == name)
        frame = frame[chosen].sort_values(["seed", "run"])
    if not len(frame):
        raise ValueError(f"{store.folder}: holds no measurement of {method!r} on {name}/{category}")
    labels = [f"seed {row.seed}, run {row.run}" for row in frame.itertuples()]
    return frame.drop(columns=["configuration", "data", "category", "seed", "run"]).set_axis(labels).T


def live(
    table: str, store: Store, *, data: str | None = None, methods: Rows = None, seeds: int | None = None
) -> Callable[[Cell], None]:
    """A table that is shown now, and filled in as cells are measured: give it to `sweep.run` as `each`."""
    from IPython.display import display

    chosen = None if methods is None else list(methods)
    shown = display(show(table, store, data=data, methods=chosen, seeds=seeds), display_id=True)
    return lambda cell: shown.update(show(table, store, data=data, methods=chosen, seeds=seeds))


@dataclass(frozen=True)
class Download:
    """A link that hands a table over as a CSV file, without a server."""

    name: str
    text: str = field(repr=False)

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.text.encode()).decode()
        name = html.escape(self.name, quote=True)
        return f'<a download="{name}" href="data:text/csv;base64,{data}">{name}</a>'


def download(frame: pd.DataFrame, name: str) -> Download:
    """A link in a notebook that saves the frame as `name`."""
    return Download(name, frame.to_csv(index=not isinstance(frame.index, pd.RangeIndex)))


_LEGEND = {
    WITHIN: "the published value lies within the measured interval",
    ABOVE: "measured above it",
    BELOW: "measured below it",
}


def _lines(table: str, store: Store | None, data: str | None, methods: Rows, most: int | None) -> list[dict[str, Any]]:
    """One line for each row, metric and category, the average first."""
    one_of("table", table, TABLES)
    store, name = Store() if store is None else store, data or default_data()
    among = {n: c for n, c in (EMBEDDED if name == TOYBOX else PAPER).items() if table in c.tables}
    chosen = find(list(among) if methods is None else methods, among)
    known = categories_of(name)
    newest = {row["cell"]: row for row in store.rows()}
    shown = {*SHOWN, *(row["category"] for row in newest.values() if row["data"] == name)}
    categories = [c for c in known if c in shown] if name == TOYBOX else known
    seeds = sorted({row["seed"] for row in newest.values() if most is None or row["seed"] < most})
    failures, why = store.failures(), _Reasons(name)
    lines = []
    for row in chosen:
        for metric in METRICS_OF[table]:
            entries = {}
            for category in categories:
                cells = [Cell(row, name, category, seed) for seed in seeds]
                rows = [newest[cell.key] for cell in cells if cell.key in newest]
                rows = [r for r in rows if r[METRICS[metric]] is not None]
                missing = "" if rows else why.missing(row, category, failures)
                entries[category] = _entry(rows, METRICS[metric], missing)
            average = _average(list(entries.values()))
            for category, entry in {AVERAGE: average, **entries}.items():
                lines.append({"method": row.name, "metric": metric, "category": category, **_facts(entry)})
    return lines


def _entry(rows: Sequence[dict[str, Any]], metric: str, missing: str) -> _Entry:
    values, lows, highs = ([_percent(row[f"{metric}{end}"]) for row in rows] for end in ("", "_low", "_high"))
    return _Entry(values, lows, highs, missing)


def _average(entries: Sequence[_Entry]) -> _Entry:
    """Over categories, seed by seed, for as many seeds as all of them have; nothing while one is missing."""
    lacking = sum(not entry.values for entry in entries)
    if lacking:
        return _Entry([], [], [], f"{lacking} of {len(entries)} missing")
    count = min(len(entry.values) for entry in entries)
    means = [fmean(entry.values[i] for entry in entries) for i in range(count)]
    down = hypot(*(entry.mean - fmean(entry.lows) for entry in entries)) / len(entries)
    up = hypot(*(fmean(entry.highs) - entry.mean for entry in entries)) / len(entries)
    return _Entry(means, [mean - down for mean in means], [mean + up for mean in means])


def _facts(entry: _Entry) -> dict[str, Any]:
    if not entry.values:
        return {"measured": nan, "low": nan, "high": nan, "seeds": 0, "spread": nan, "missing": entry.missing}
    spread = stdev(entry.values) if len(entry.values) > 1 else nan
    ends = {"low": fmean(entry.lows), "high": fmean(entry.highs)}
    return {"measured": entry.mean, **ends, "seeds": len(entry.values), "spread": spread, "missing": ""}


class _Reasons:
    """Says why a cell was not measured; looks at each category and each weight file once."""

    def __init__(self, data: str) -> None:
        self.data = data
        self.lacking: dict[str, bool] = {}

    def missing(self, row: Configuration, category: str, failures: dict[str, str]) -> str:
        for seed in range(TRIED):
            if why := failures.get(Cell(row, self.data, category, seed).key):
                if self._no_data(category):
                    return "no data"
                return "no weights" if self._no_weights(row) else f"failed: {why}"
        if self._no_data(category):
            return "no data"
        return "no weights" if self._no_weights(row) else "not run"

    def _no_data(self, category: str) -> bool:
        if self.data not in inventory.DATA_SETS:
            return False
        return self._once(f"data {category}", lambda: inventory.find(self.data, category))

    def _no_weights(self, row: Configuration) -> bool:
        name = row.parameters.get("backbone")
        return name is not None and self._once(f"weights {name}", lambda: _find_weights(name))

    def _once(self, what: str, find: Callable[[], Any]) -> bool:
        if what not in self.lacking:
            try:
                find()
                self.lacking[what] = False
            except (OSError, ValueError):
                self.lacking[what] = True
        return self.lacking[what]


def _find_weights(name: str) -> None:
    from pclib.backbones import find_weights, published_weights

    address = published_weights(name)
    if address is not None and find_weights(address.rsplit("/", 1)[1]) is None:
        raise FileNotFoundError(name)


def _verdict(known: float, reach: float, value: float, low: float, high: float) -> str:
    if known != known or value != value:
        return ""
    if low - reach <= known <= high + reach:
        return WITHIN
    return ABOVE if value > known else BELOW


def _words(line: Any, beside: bool) -> str:
    if line.seeds == 0:
        return line.missing.split(":")[0]
    if not beside:
        return f"{line.measured:.1f} ({line.low:.1f} to {line.high:.1f})"
    if not line.verdict:
        return f"{line.measured:.1f}"
    return f"{line.measured:.1f} {SIGNS[line.verdict]} {line.difference:+.1f}"


def _wide(lines: pd.DataFrame, table: str, values: str) -> pd.DataFrame:
    """Rows as in `published`, columns the average and the categories, in the order of the lines."""
    keys = ["method", "metric"] if table == "S4" else ["method"]
    order = list(dict.fromkeys(lines["category"]))
    frame = lines.pivot(index=keys, columns="category", values=values)[order]
    rows = list(dict.fromkeys(lines[keys].itertuples(index=False, name=None)))
    frame = frame.loc[rows if len(keys) > 1 else [row for (row,) in rows]]
    frame.columns.name = None
    return frame.rename_axis(index={"method": "configuration"}) if table == "S4" else frame


def _percent(value: float | None) -> float:
    return nan if value is None else 100 * value
