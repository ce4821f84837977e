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
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import pandas as pd

from pclib import inventory
from pclib._checks import one_of
from pclib.cells import METRICS, SHOWN, TOYBOX, Cell, categories_of, named_data
from pclib.configurations import EMBEDDED, PAPER, Configuration, find, rows_of
from pclib.published import (
    AVERAGE,
    DASH,
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
Rows = str | Configuration | Iterable[str | Configuration] | None


@dataclass(frozen=True)
class _Entry:
    """What is known of one configuration on one category: by seed, the value and the ends of its interval."""

    seeds: dict[int, tuple[float, float, float]]
    missing: str = ""

    def mean(self, seeds: Iterable[int] | None = None) -> tuple[float, float, float]:
        """Value, low and high, means over these seeds, or over all."""
        chosen = [self.seeds[seed] for seed in (self.seeds if seeds is None else seeds)]
        value, low, high = map(fmean, zip(*chosen, strict=True))
        return value, low, high


def measured(
    table: str,
    store: Store | str | Path | None = None,
    *,
    data: str | None = None,
    methods: Rows = None,
    seeds: int | None = None,
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
    table: str,
    store: Store | str | Path | None = None,
    *,
    data: str | None = None,
    methods: Rows = None,
    seeds: int | None = None,
) -> pd.DataFrame:
    """Published and measured side by side, one line for each row that can be run, metric and category; percent.

    measured   mean over `seeds` seeds; `spread` is their standard deviation, NaN for one
    low, high  ends of the 95 % interval: what as many other test pictures could have given. Means over seeds; of an
               average, the categories' half widths added as independent errors are
    difference measured less published
    verdict    "within" if some value that rounds to the published one lies in the interval, else "above" or "below":
               where the measured value lies
    missing    why there is no measured value: no data, no weights, failed (with what was said), not run

    On other data than MVTec AD nothing is published: these columns are then not there. Nor does a configuration with
    other parameters than the paper's have a published value. Raises as `measured` does.
    """
    name = named_data(data)
    lines = pd.DataFrame(_lines(table, store, name, methods, seeds))
    if name != PUBLISHED_ON:
        return lines
    chosen = find(list(rows_of(table, PAPER)) if methods is None else methods, PAPER)
    as_published = {row.name for row in chosen if row.name in PAPER and PAPER[row.name].digest == row.digest}
    text, beside = printed(table), []
    for line in lines.itertuples():
        row = (line.method, line.metric) if table == "S4" else line.method
        value = text[line.category].get(row, DASH) if line.method in as_published else DASH
        known = nan if value == DASH else float(value)
        reach = 0.0 if value == DASH else float(last_digit(value)) / 2
        beside.append([known, line.measured - known, _verdict(known, reach, line.measured, line.low, line.high)])
    lines[["published", "difference", "verdict"]] = pd.DataFrame(
        beside, lines.index, ["published", "difference", "verdict"]
    )
    shown = ["published", "measured", "low", "high", "seeds", "spread", "difference", "verdict", "missing"]
    return lines[["method", "metric", "category", *shown]]


def show(
    table: str,
    store: Store | str | Path | None = None,
    *,
    data: str | None = None,
    methods: Rows = None,
    seeds: int | None = None,
) -> Styler:
    """`compare` as a table to look at: a row for each method, a column for each category.

    On MVTec AD every cell says what was measured, where that lies, and the difference to the published value; on other
    data what was measured, with its interval. Cells without a number say why.
    """
    name = named_data(data)
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


def drift(store: Store | str | Path | None = None) -> pd.DataFrame:
    """Cells measured more than once: the last run beside the one before, and what changed between the two.

    One line for each metric of each such cell; percent. `changed` names those of data, weights, code, versions and host
    that differ.
    """
    store = _opened(store)
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


def trace(
    method: str, category: str, store: Store | str | Path | None = None, *, data: str | None = None
) -> pd.DataFrame:
    """What a number rests on: every measurement of a configuration on a category, a column for each.

    Raises ValueError if there is none.
    """
    store, name = _opened(store), named_data(data)
    frame = store.frame(latest=False)
    if len(frame):
        chosen = (frame.configuration == method) & (frame.category == category) & (frame.data == name)
        frame = frame[chosen].sort_values(["seed", "run"])
    if not len(frame):
        raise ValueError(f"{store.folder}: holds no measurement of {method!r} on {name}/{category}")
    several = frame["parameters"].nunique() > 1  # configurations of one name
    labels = [f"seed {r.seed}, run {r.run}{f', {r.cell[:6]}' if several else ''}" for r in frame.itertuples()]
    return frame.drop(columns=["configuration", "data", "category", "seed", "run"]).set_axis(labels).T


def live(
    table: str, store: Store, *, data: str | None = None, methods: Rows = None, seeds: int | None = None
) -> Callable[[Cell], None]:
    """A table that is shown now, and filled in as cells are measured: give it to `sweep.run` as `each`."""
    from IPython.display import display

    chosen = methods if methods is None or isinstance(methods, str | Configuration) else list(methods)
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


def _opened(store: Store | str | Path | None) -> Store:
    return store if isinstance(store, Store) else Store(store)


def _lines(
    table: str, store: Store | str | Path | None, data: str | None, methods: Rows, most: int | None
) -> list[dict[str, Any]]:
    """One line for each row, metric and category, the average first."""
    one_of("table", table, TABLES)
    store, name = _opened(store), named_data(data)
    rows = rows_of(table, EMBEDDED if name == TOYBOX else PAPER)
    chosen = find(list(rows) if methods is None else methods, rows)
    known = categories_of(name)
    newest = {row["cell"]: row for row in store.rows()}
    seeds = sorted({row["seed"] for row in newest.values() if most is None or row["seed"] < most})
    cells = {(row.name, c): [Cell(row, name, c, seed) for seed in seeds] for row in chosen for c in known}
    found = {where: [newest[c.key] for c in group if c.key in newest] for where, group in cells.items()}
    categories = [c for c in known if name != TOYBOX or c in SHOWN or any(found[row.name, c] for row in chosen)]
    why, lines = Reasons(name, store.failures()), []
    for row in chosen:
        for metric in METRICS_OF[table]:
            entries = {c: _entry(found[row.name, c], METRICS[metric]) for c in categories}
            for category, entry in entries.items():
                if not entry.seeds and not entry.missing:
                    entries[category] = _Entry({}, why.missing(row, category))
            for category, entry in {AVERAGE: _average(list(entries.values())), **entries}.items():
                lines.append({"method": row.name, "metric": metric, "category": category, **_facts(entry)})
    return lines


def _entry(rows: Sequence[dict[str, Any]], metric: str) -> _Entry:
    ends = [f"{metric}{end}" for end in ("", "_low", "_high")]
    seeds = {row["seed"]: tuple(_percent(row[end]) for end in ends) for row in rows if row[metric] is not None}
    undefined = "not defined: no masks, or one class only" if rows and not seeds else ""
    return _Entry(seeds, undefined)  # type: ignore[arg-type]


def _average(entries: Sequence[_Entry]) -> _Entry:
    """Over categories, seed by seed, for the seeds that all of them have; nothing while a category is missing."""
    lacking = sum(not entry.seeds for entry in entries)
    if lacking:
        return _Entry({}, f"{lacking} of {len(entries)} missing")
    common = sorted(set.intersection(*(set(entry.seeds) for entry in entries)))
    if not common:
        return _Entry({}, "no seed in common")
    means = [entry.mean(common) for entry in entries]
    down = hypot(*(value - low for value, low, _ in means)) / len(entries)
    up = hypot(*(high - value for value, _, high in means)) / len(entries)
    values = {seed: fmean(entry.seeds[seed][0] for entry in entries) for seed in common}
    return _Entry({seed: (value, value - down, value + up) for seed, value in values.items()})


def _facts(entry: _Entry) -> dict[str, Any]:
    value, low, high = entry.mean() if entry.seeds else (nan, nan, nan)
    values = [value for value, _, _ in entry.seeds.values()]
    spread = stdev(values) if len(values) > 1 else nan
    return {
        **{"measured": value, "low": low, "high": high},
        **{"seeds": len(values), "spread": spread, "missing": entry.missing},
    }


class Reasons:
    """Says why a cell was not measured; looks at each category and each weight file once."""

    def __init__(self, data: str, failures: dict[str, str]) -> None:
        self.data, self.failures = data, failures
        self.lacking: dict[str, str] = {}

    def missing(self, row: Configuration, category: str) -> str:
        """Why there is no measured value: why it failed, what is not here, or that it was not run."""
        keys = [Cell(row, self.data, category, seed).key for seed in range(TRIED)]
        failed = next((self.failures[key] for key in keys if key in self.failures), "")
        if failed and not failed.startswith("FileNotFoundError"):
            return f"failed: {failed}"
        return self.obstacle(row, category) or (f"failed: {failed}" if failed else "not run")

    def obstacle(self, row: Configuration, category: str) -> str:
        """ "no data" or "no weights", or what is wrong with those that are there; "" if it can be run."""
        name = row.parameters.get("backbone")
        return self._once(f"data {category}", "data", lambda: self._find_data(category)) or self._once(
            f"weights {name}", "weights", lambda: _find_weights(name)
        )

    def _find_data(self, category: str) -> None:
        if self.data in inventory.DATA_SETS:
            inventory.find(self.data, category)

    def _once(self, key: str, what: str, find: Callable[[], Any]) -> str:
        if key not in self.lacking:
            try:
                find()
                self.lacking[key] = ""
            except FileNotFoundError:
                self.lacking[key] = f"no {what}"
            except (OSError, ValueError) as error:
                self.lacking[key] = f"unusable {what}: {error}"
        return self.lacking[key]


def _find_weights(name: str | None) -> None:
    from pclib.backbones import weights_file

    if name is not None:
        weights_file(name)


def _verdict(known: float, reach: float, value: float, low: float, high: float) -> str:
    if any(number != number for number in (known, value, low, high)):
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
