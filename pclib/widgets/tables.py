"""Table explorer: Tables S1-S4 as published, as measured here, and what lies between; and where each number is from."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan, nan
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import traitlets
from ipywidgets import HTML
from matplotlib.axes import Axes

from pclib import inventory, tables
from pclib._checks import counted, one_of
from pclib.cells import METRICS, TOYBOX, Cell, named_data
from pclib.configurations import EMBEDDED, PAPER, Configuration
from pclib.framing import Framing
from pclib.plots import BLUE, ORANGE
from pclib.published import AVERAGE, CATEGORIES, DASH, TABLES
from pclib.published import METRICS as METRICS_OF
from pclib.samples import GOOD, Sample
from pclib.store import Store
from pclib.tables import ABOVE, BELOW, PUBLISHED_ON, SIGNS, WITHIN
from pclib.widgets.charts import Chart
from pclib.widgets.elements import Grid
from pclib.widgets.explorer import Explorer, Still
from pclib.widgets.pixels import Canvas, resized, rgb
from pclib.widgets.state import Choose, Control, Panel, Several, State, Switch, short

PUBLISHED, MEASURED, DIFFERENCE = "published", "measured", "difference"
VERDICTS = {
    WITHIN: "the published value lies within the measured interval",
    ABOVE: "the measured value lies above the published one",
    BELOW: "the measured value lies below the published one",
}
WORST, TILE, LABEL, GAP = 3, 120, 34, 6  # pictures of each kind, pixels of one, of what is written below, and between
STRIP = 400
FACTS = {  # of a measurement: its name in `tables.trace`, and how many characters of it are shown
    **{"measured_at": ("measured at", None), "code": ("code", None), "host": ("machine", None)},
    **{"data_sha256": ("pictures, SHA-256", 12), "weights_sha256": ("weights, SHA-256", 12)},
    **{"versions": ("versions", None), "origin": ("taken from store", 12)},
}


@dataclass(frozen=True)
class Entry:
    """One number of the table: its value (NaN if there is none), how the table prints it, and what it means."""

    value: float
    text: str
    words: str


@dataclass(frozen=True, eq=False)
class Pictured:
    """The image scores of one measurement: names and scores (n,) of good and of defective pictures, worst first."""

    seed: int
    good: list[tuple[str, float]]
    defective: list[tuple[str, float]]


class TableState(State):
    """What of Tables S1-S4 is looked at.

    table, metric        "S1" to "S4"; the metric is one of the table's
    show                 "published", "measured", or (on MVTec AD only) their "difference"
    methods, categories  the rows and columns that are shown
    sort, descending     the column that rows are sorted by, "" for the paper's order; and whether the highest is first
    cell                 (method, category) of the cell that is chosen; () for none

    Published numbers stand beside measured ones only where these were measured on MVTec AD.
    """

    table = traitlets.Unicode()
    metric = traitlets.Unicode()
    show = traitlets.Unicode()
    methods: traitlets.Tuple = traitlets.Tuple()
    categories: traitlets.Tuple = traitlets.Tuple()
    sort = traitlets.Unicode()
    descending = traitlets.Bool()
    cell: traitlets.Tuple = traitlets.Tuple()

    def __init__(
        self,
        table: str = "S1",
        store: Store | str | Path | None = None,
        *,
        data: str | None = None,
        metric: str | None = None,
        show: str = PUBLISHED,
        methods: Iterable[str] | None = None,
        categories: Iterable[str] | None = None,
        sort: str | None = None,
        descending: bool = True,
        cell: tuple[str, str] | None = None,
    ) -> None:
        """data: where it was measured, "mvtec", "visa", "toybox" or a folder; None for the profile's tables."""
        self.data = named_data(data)
        self.store = store if isinstance(store, Store) else Store(store)
        self._configurations: Mapping[str, Configuration] = EMBEDDED if self.data == TOYBOX else PAPER
        self._newest = {row["cell"]: row for row in self.store.rows()}
        self._compared = lru_cache(None)(self._compare)
        self._pictured = lru_cache(None)(self._read_scores)
        self._traced = lru_cache(None)(
            lambda method, category: tables.trace(method, category, self.store, data=self.data)
        )
        self._samples = lru_cache(None)(self._open)
        self._thumbnail = lru_cache(None)(self._read_thumbnail)
        self._strip = Chart(_draw_strip, (STRIP, 150))
        one_of("table", table, TABLES)
        self._check_view(show)
        super().__init__(
            table=table,
            metric=METRICS_OF[table][0] if metric is None else metric,
            show=show,
            methods=self._rows(table, show) if methods is None else _several("methods", methods),
            categories=self._columns(table, show) if categories is None else _several("categories", categories),
            sort=sort or "",
            descending=descending,
            cell=() if cell is None else tuple(cell),
        )

    @traitlets.validate("table", "metric", "sort")
    def _check_one(self, proposal: Any) -> str:
        name, value = proposal["trait"].name, proposal["value"]
        known = {"table": TABLES, "metric": METRICS_OF[self.table], "sort": ("", *self._all_columns())}[name]
        one_of(name, value, known)
        return value

    @traitlets.validate("show")
    def _check_show(self, proposal: Any) -> str:
        self._check_view(proposal["value"])
        return proposal["value"]

    @traitlets.validate("methods", "categories")
    def _check_several(self, proposal: Any) -> tuple[str, ...]:
        name, chosen = proposal["trait"].name, proposal["value"]
        known = self._all_rows() if name == "methods" else self._all_columns()
        for one in chosen:
            one_of(name, one, known)
        return tuple(one for one in known if one in chosen)

    @traitlets.validate("cell")
    def _check_cell(self, proposal: Any) -> tuple[str, ...]:
        value = proposal["value"]
        if len(value) not in (0, 2):
            raise ValueError(f"cell must be (method, category), or () for none, got {value}")
        for name, one, known in zip(
            ("method", "category"), value, (self._all_rows(), self._all_columns()), strict=False
        ):
            one_of(f"the cell's {name}", one, known)
        return value

    @traitlets.observe("table", "show")
    def _settle(self, change: Any) -> None:
        """Let go of what the table that is shown now does not have."""
        if not change["old"]:
            return
        before = {"table": self.table, "show": self.show, change["name"]: change["old"]}
        rows, columns = self._all_rows(), self._all_columns()
        with self.hold_trait_notifications():
            self.methods = _kept(self.methods, self._rows(**before), rows)
            self.categories = _kept(self.categories, self._columns(**before), columns)
            if self.metric not in METRICS_OF[self.table]:
                self.metric = METRICS_OF[self.table][0]
            if self.sort not in columns:
                self.sort = ""
            if self.cell and not (self.cell[0] in rows and self.cell[1] in columns):
                self.cell = ()

    def prepare(self) -> None:
        """Read the image scores of what was measured, and the pictures that go with them, before they are asked for."""
        for table in TABLES:
            for method in self._rows(table, MEASURED):
                for category in self._columns(table, MEASURED):
                    found = self._pictured(method, category)
                    if isinstance(found, Pictured):
                        self._traced(method, category)
                        for name, _ in (*found.good[:WORST], *found.defective[:WORST]):
                            self._thumbnail(self._framing(method), category, name)

    def shown_rows(self) -> list[str]:
        """The methods that are shown, sorted; those without a number come last."""
        rows = [row for row in self._all_rows() if row in self.methods]
        if not self.sort:
            return rows
        values = {row: self.entry(row, self.sort).value for row in rows}
        return sorted(rows, key=lambda row: (isnan(values[row]), -values[row] if self.descending else values[row]))

    def shown_columns(self) -> list[str]:
        """The categories (and the average) that are shown, in the paper's order."""
        return [column for column in self._all_columns() if column in self.categories]

    def chosen(self) -> tuple[str, str] | None:
        """The cell that is chosen, if it is among those shown."""
        if not self.cell or self.cell[0] not in self.methods or self.cell[1] not in self.categories:
            return None
        return self.cell[0], self.cell[1]

    def entry(self, method: str, category: str) -> Entry:
        """What the table shows in a cell."""
        if self.show == PUBLISHED:
            text = _printed(self.table, self.metric)[method][category]
            if text == DASH:
                return Entry(nan, "–", "not in the paper's table")
            return Entry(float(text), text, text)
        line = self._compared(self.table)[method, self.metric, category]
        if not line.seeds:
            return Entry(nan, "–", f"not measured: {line.missing}")
        if self.show == MEASURED:
            ends = f", 95 % interval {line.low:.1f} to {line.high:.1f}"
            return Entry(line.measured, f"{line.measured:.1f}", f"{line.measured:.1f}{ends}")
        if isnan(line.difference):
            return Entry(nan, "–", "nothing is published to compare with")
        sign, means = (SIGNS[line.verdict], f"; {VERDICTS[line.verdict]}") if line.verdict else ("", "")
        words = f"{line.difference:+.1f}, measured {line.measured:.1f}, published {line.published:.4g}{means}"
        return Entry(line.difference, f"{line.difference:+.1f} {sign}".rstrip(), words)

    def leaders(self, category: str) -> tuple[float, list[str]]:
        """The highest value of a column among the rows that are shown (NaN if there is none), and who has it."""
        values = {row: self.entry(row, category).value for row in self.shown_rows()}
        best = _highest(values.values())
        return best, [row for row, value in values.items() if value == best]

    def grid(self) -> dict[str, Any]:
        """The table as `Grid` takes it."""
        columns, rows = self.shown_columns(), self.shown_rows()
        entries = {column: [self.entry(row, column) for row in rows] for column in columns}
        best = {column: _highest(entry.value for entry in entries[column]) for column in columns}
        order = "descending" if self.descending else "ascending"
        lines = []
        for i, row in enumerate(rows):
            cells = [(column, entries[column][i]) for column in columns]
            named = [{"text": e.text, "name": f"{row}, {c}: {e.words}", "best": e.value == best[c]} for c, e in cells]
            lines.append({"key": row, "cells": named})
        heads = [{"key": c, "label": c.replace("_", " "), "sort": order if c == self.sort else "none"} for c in columns]
        return {"caption": self.caption(), "columns": heads, "rows": lines}

    def caption(self) -> str:
        """What the table is."""
        where = _title(self.data)
        how = {
            PUBLISHED: "as published, on MVTec AD",
            MEASURED: f"as measured here, on {where}",
            DIFFERENCE: f"measured here less published, on {where}: "
            + ", ".join(f"{sign} {VERDICTS[verdict]}" for verdict, sign in SIGNS.items()),
        }[self.show]
        return f"Table {self.table}, {self.metric} in percent, {how}"

    def origin(self) -> list[tuple[str, list[list[str]]]]:
        """Where the number of the chosen cell comes from: tables of a caption and rows, the head first."""
        if (cell := self.chosen()) is None:
            return []
        (method, category), found = cell, []
        if self.show != MEASURED and method in self._rows(self.table, PUBLISHED):
            source = _sources(self.table, self.metric)[method]
            facts = [["where it first stood", "source"], ["whose run it is", "run_by"], ["what to know", "note"]]
            rows = [["published", method], *([what, source[name]] for what, name in facts if source[name])]
            found.append((f"Where {method}'s published numbers come from", rows))
        if self.show != PUBLISHED and self._row_of(method, category):
            found.append((f"What {method}'s measured numbers on {category} rest on", self._trace(method, category)))
        return found

    def controls(self) -> list[Control]:
        columns = self._all_columns()
        views = {"as published": PUBLISHED, "as measured": MEASURED, "difference": DIFFERENCE}
        return [
            Choose("table", "Table", {table: table for table in TABLES}),
            Choose("metric", "Metric", {metric: metric for metric in METRICS_OF[self.table]}),
            Choose("show", "Numbers", {words: view for words, view in views.items() if view in self._views()}),
            Choose("sort", "Sorted by", {"the paper's order": "", **{column: column for column in columns}}),
            Switch("descending", "Highest first"),
            Several("methods", "Methods", {method: method for method in self._all_rows()}),
            Several("categories", "Columns", {column: column for column in columns}),
        ]

    def words(self) -> str:
        rows, columns = self.shown_rows(), self.shown_columns()
        order = f"sorted by {self.sort}, {'highest' if self.descending else 'lowest'} first"
        lines = [
            f"{self.caption()}.",
            f"{len(rows)} of {counted(len(self._all_rows()), 'method')} and {len(columns)} of "
            f"{counted(len(self._all_columns()), 'column')}, {order if self.sort else 'in the paper’s order'}.",
            self._nothing_chosen(rows, columns) or self._leader_in_words(columns),
            self._missing_in_words(rows, columns),
            self._cell_in_words(),
        ]
        if self.show == PUBLISHED and self.data != PUBLISHED_ON:
            lines.append(f"What is measured here, on {_title(self.data)}, does not stand beside it: other pictures.")
        return "\n".join(line for line in lines if line)

    def panels(self) -> list[Panel]:
        found = self._scores_of_chosen()
        titles = "Image scores of the chosen cell", "Good pictures that score highest, defective ones lowest"
        if isinstance(found, str):
            return [_nothing(title, found) for title in titles]
        cell = self.chosen()
        assert cell is not None
        named = [f"{_short(name)} at {short(score)}" for name, score in self._worst(found)]
        return [
            Panel(titles[0], *self._marked_strip(found)),
            Panel(titles[1], self._mosaic(*cell, found), f"Thumbnails: {'; '.join(named)}", _across(WORST), photo=True),
        ]

    def _views(self) -> tuple[str, ...]:
        return (PUBLISHED, MEASURED, *([DIFFERENCE] if self.data == PUBLISHED_ON else []))

    def _check_view(self, show: str) -> None:
        if show == DIFFERENCE and self.data != PUBLISHED_ON:
            raise ValueError(
                f"show='difference' takes numbers measured on MVTec AD, and these are from {self.data}: published and "
                "measured numbers of other pictures are not compared; show 'published' or 'measured'"
            )
        one_of("show", show, self._views())

    def _rows(self, table: str, show: str) -> tuple[str, ...]:
        """All methods of a table, in its order."""
        if show == PUBLISHED:
            return tuple(_printed(table, METRICS_OF[table][0]))
        return tuple(dict.fromkeys(method for method, _, _ in self._compared(table)))

    def _columns(self, table: str, show: str) -> tuple[str, ...]:
        if show == PUBLISHED:
            return (AVERAGE, *CATEGORIES)
        return tuple(dict.fromkeys(category for _, _, category in self._compared(table)))

    def _all_rows(self) -> tuple[str, ...]:
        return self._rows(self.table, self.show)

    def _all_columns(self) -> tuple[str, ...]:
        return self._columns(self.table, self.show)

    def _compare(self, table: str) -> dict[tuple[str, str, str], Any]:
        """The lines of `tables.compare` by method, metric and category."""
        frame = tables.compare(table, self.store, data=self.data)
        return {(line.method, line.metric, line.category): line for line in frame.itertuples()}

    def _framing(self, method: str) -> Framing:
        parameters = self._configurations[method].parameters
        return Framing(parameters["resize"], parameters["crop"])

    def _row_of(self, method: str, category: str) -> dict[str, Any] | None:
        """The measurement that a cell shows pictures of: the last one with the lowest seed."""
        configuration = self._configurations[method]
        for seed in sorted({row["seed"] for row in self._newest.values()}):
            row = self._newest.get(Cell(configuration, self.data, category, seed).key)
            if row is not None:
                return row
        return None

    def _read_scores(self, method: str, category: str) -> Pictured | str:
        """The image scores behind a cell, or why there are none."""
        row = self._row_of(method, category)
        if row is None:
            return "image scores belong to a measured cell of one category"
        try:
            arrays = self.store.scores(row["scores"])
        except (OSError, ValueError) as error:
            return str(error)
        order = np.argsort(arrays["score"], kind="stable")
        named = [(str(arrays["name"][i]), float(arrays["score"][i]), str(arrays["defect"][i])) for i in order]
        good = [(name, score) for name, score, defect in reversed(named) if defect == GOOD]
        defective = [(name, score) for name, score, defect in named if defect not in (GOOD, "")]
        return Pictured(row["seed"], good, defective)

    def _scores_of_chosen(self) -> Pictured | str:
        if (cell := self.chosen()) is None:
            return "no cell is chosen"
        if self.show == PUBLISHED:
            return "the paper prints no image scores"
        return self._pictured(*cell)

    def _worst(self, found: Pictured) -> list[tuple[str, float]]:
        return [*found.good[:WORST], *found.defective[:WORST]]

    def _open(self, category: str) -> dict[str, Sample]:
        """The test pictures by name; none if the category is not at hand."""
        any_one = next(iter(self._configurations.values()))
        try:
            return {sample.name: sample for sample in Cell(any_one, self.data, category, 0).open().test}
        except (OSError, ValueError):
            return {}

    def _read_thumbnail(self, framing: Framing, category: str, name: str) -> np.ndarray | None:
        """(TILE, TILE, 3) uint8: the picture as a method sees it; None if it is not at hand."""
        sample = self._samples(category).get(name)
        return None if sample is None else resized(np.asarray(framing.image(sample.load())), TILE, TILE)

    def _trace(self, method: str, category: str) -> list[list[str]]:
        frame = self._traced(method, category)
        key = METRICS[self.metric]
        runs = [frame[run] for run in frame.columns]
        rows = [["measured", *frame.columns]]
        rows.append([f"{self.metric}, percent", *(_with_ends(*(run[f"{key}{end}"] for end in _ENDS)) for run in runs)])
        rows.append(["trained on", *(counted(run["n_train"], "picture") for run in runs)])
        rows.append(["tested on", *(f"{run['n_good']} good, {run['n_anomalous']} defective" for run in runs)])
        for fact, (name, most) in FACTS.items():
            cells = [_plain(run[fact])[:most] for run in runs]
            if any(cells):
                rows.append([name, *cells])
        return rows

    def _nothing_chosen(self, rows: Sequence[str], columns: Sequence[str]) -> str:
        lacking = [what for what, chosen in (("method", rows), ("column", columns)) if not chosen]
        return f"No {' and no '.join(lacking)} is chosen, so there is nothing to show." if lacking else ""

    def _leader_in_words(self, columns: Sequence[str]) -> str:
        cell = self.chosen()
        column = cell[1] if cell else self.sort if self.sort in columns else columns[0]
        best, leaders = self.leaders(column)
        if isnan(best):
            return f"No number in the column {column}."
        return f"Highest in the column {column}: {self.entry(leaders[0], column).text}, {', '.join(leaders)}."

    def _missing_in_words(self, rows: Sequence[str], columns: Sequence[str]) -> str:
        if self.show == PUBLISHED:
            return ""
        lines = [self._compared(self.table)[row, self.metric, c] for row in rows for c in columns if c != AVERAGE]
        why = Counter(line.missing.split(":")[0] for line in lines if not line.seeds)
        if not why:
            return ""
        reasons = ", ".join(f"{reason} {count}" for reason, count in why.items())
        return f"{why.total()} of {counted(len(lines), 'cell')} not measured: {reasons}."

    def _cell_in_words(self) -> str:
        if (cell := self.chosen()) is None:
            return "No cell is chosen; choose one to see where its number comes from."
        lines = [f"{cell[0]}, {cell[1]}: {self.entry(*cell).words}."]
        if self.show != PUBLISHED:
            line = self._compared(self.table)[cell[0], self.metric, cell[1]]
            if line.seeds > 1:
                lines.append(f"Mean over {line.seeds} seeds, whose standard deviation is {line.spread:.1f}.")
        found = self._scores_of_chosen()
        if isinstance(found, Pictured) and found.good and found.defective:
            above = sum(score > found.good[0][1] for _, score in found.defective)
            lines.append(
                f"With seed {found.seed}, {above} of {counted(len(found.defective), 'defective picture')} score above "
                f"all {len(found.good)} good ones. The good one that scores highest is {_short(found.good[0][0])}, the "
                f"defective one that scores lowest {_short(found.defective[0][0])}."
            )
        return " ".join(lines)

    def _marked_strip(self, found: Pictured) -> tuple[np.ndarray, str, int]:
        scores = [score for _, score in (*found.good, *found.defective)]
        low, high = min(scores), max(scores)
        canvas = self._strip.canvas()
        for height, group in enumerate((found.good, found.defective)):
            for _, score in group:
                place = self._strip.at((score - low) / ((high - low) or 1.0), height)
                canvas.square(*place, ORANGE) if height else canvas.dot(*place, BLUE)
        for share, score in ((0, low), (1, high)):
            across, down = self._strip.at(share, 1.55)
            canvas.text(across - 48 * share, down, short(score))
        alt = (
            f"Image scores with seed {found.seed}, from {short(low)} to {short(high)}: {len(found.good)} good pictures "
            f"as dots below, {len(found.defective)} defective ones as squares above"
        )
        return canvas.pixels, alt, STRIP

    def _mosaic(self, method: str, category: str, found: Pictured) -> np.ndarray:
        framing = self._framing(method)
        sheet = np.full((2 * (TILE + LABEL), _across(WORST), 3), 255, np.uint8)
        tiles = [
            (row * (TILE + LABEL), _across(column) + (GAP if column else 0), *picture)
            for row, pictures in enumerate((found.good[:WORST], found.defective[:WORST]))
            for column, picture in enumerate(pictures)
        ]
        for top, left, name, _ in tiles:
            pixels = self._thumbnail(framing, category, name)
            sheet[top : top + TILE, left : left + TILE] = rgb("#d9d9d9") if pixels is None else pixels
        canvas = Canvas(sheet)
        for top, left, name, score in tiles:
            if self._thumbnail(framing, category, name) is None:
                canvas.text(left + 8, top + 8, "picture\nnot at hand")
            canvas.text(left, top + TILE + 2, f"{_short(name)}\n{short(score)}")
        return canvas.pixels


class TableExplorer(Explorer):
    """Tables S1-S4: sort, choose rows and columns, and ask each number where it comes from.

    Takes what `TableState` takes: the table, a store, and what to start with.
    """

    def __init__(self, table: str = "S1", store: Store | str | Path | None = None, **chosen: Any) -> None:
        state = TableState(table, store, **chosen)
        self._grid, self._origin = Grid(), HTML()
        super().__init__(state)
        controls, words, pictures = self.children
        self.children = [controls, self._grid, words, self._origin, pictures]
        self._grid.observe(lambda change: self._pick(*change["new"][:2]), "picked")
        self._grid.observe(lambda change: self._sort_by(change["new"][0]), "pressed")

    def figure(self) -> Still:
        state = self.state
        return Still(state.panels(), state.words(), _as_html(state.grid(), state.chosen()) + _origins(state.origin()))

    def _refresh(self) -> None:
        super()._refresh()
        self._grid.table = self.state.grid()
        self._grid.chosen = list(self.state.chosen() or ())
        self._origin.value = _origins(self.state.origin())

    def _pick(self, method: str, category: str) -> None:
        self._guarded(lambda: setattr(self.state, "cell", (method, category)))

    def _sort_by(self, column: str) -> None:
        """By another column highest first, by the same one the other way round."""
        if self.state.sort == column:
            self._guarded(lambda: setattr(self.state, "descending", not self.state.descending))
        else:
            self._guarded(lambda: self.state.set_trait("sort", column))


_ENDS = ("", "_low", "_high")


@lru_cache
def _printed(table: str, metric: str) -> dict[str, dict[str, str]]:
    """The printed table of one metric: by method and category."""
    frame = tables.printed(table)
    return (frame.xs(metric, level="metric") if table == "S4" else frame).to_dict("index")


@lru_cache
def _sources(table: str, metric: str) -> dict[str, dict[str, str]]:
    """By method: its source, whose run it is, and a note."""
    frame = tables.sources(table)
    return (frame.xs(metric, level="metric") if table == "S4" else frame).to_dict("index")


def _several(name: str, chosen: Iterable[str]) -> tuple[str, ...]:
    if isinstance(chosen, str):
        raise ValueError(f"{name} must be a list of names, got the text {chosen!r}")
    return tuple(chosen)


def _kept(chosen: tuple[str, ...], before: Sequence[str], now: tuple[str, ...]) -> tuple[str, ...]:
    """What of a choice another table has; all of it, if all was chosen, or nothing of what was is there."""
    if len(chosen) == len(before):
        return now
    return tuple(one for one in now if one in chosen) or (now if chosen else ())


def _highest(values: Iterable[float]) -> float:
    """The highest of those that are numbers; NaN if none is."""
    return max((value for value in values if not isnan(value)), default=nan)


def _title(data: str) -> str:
    return inventory.DATA_SETS[data].title if data in inventory.DATA_SETS else Path(data).name


def _short(name: str) -> str:
    """ "test/good/003.png" as "good/003"."""
    return "/".join(Path(name).with_suffix("").parts[-2:])


def _plain(fact: Any) -> str:
    """A fact of a trace as text: JSON without its marks, nothing for what is not known."""
    if fact is None or fact != fact:
        return ""
    return str(fact).strip("{}").replace('"', "").replace("+00:00", " UTC")


def _with_ends(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or value != value:
        return "not defined"
    ends = "" if low is None or low != low or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
    return f"{100 * value:.1f}{ends}"


def _across(tiles: int) -> int:
    return tiles * (TILE + GAP) - GAP if tiles else 0


def _nothing(title: str, reason: str) -> Panel:
    """A grey strip that says why there is nothing to see."""
    words = f"Nothing to show: {reason}."
    canvas = Canvas(np.full((56, STRIP, 3), rgb("#d9d9d9"), np.uint8)).text(10, 8, fill(words, 60)[:170])
    return Panel(title, canvas.pixels, words, STRIP)


def _draw_strip(axes: list[Axes]) -> None:
    axes[0].set(xlim=(-0.04, 1.04), ylim=(-0.6, 1.6), xticks=[], yticks=[0, 1], yticklabels=["good", "defective"])
    axes[0].set_xlabel("image score, from the lowest to the highest")


def _as_html(grid: dict[str, Any], chosen: tuple[str, str] | None) -> str:
    """The table without a kernel; the highest of a column is bold, and the cell that is chosen framed."""
    heads = "".join(f'<th scope="col">{html.escape(column["label"])}</th>' for column in grid["columns"])
    lines = []
    for row in grid["rows"]:
        cells = []
        for column, cell in zip(grid["columns"], row["cells"], strict=True):
            frame = ' style="outline: 2px solid"' if chosen == (row["key"], column["key"]) else ""
            text = html.escape(cell["text"])
            cells.append(f"<td{frame}>{f'<b>{text}</b>' if cell['best'] else text}</td>")
        lines.append(f'<tr><th scope="row">{html.escape(row["key"])}</th>{"".join(cells)}</tr>')
    head = f'<thead><tr><th scope="col">method</th>{heads}</tr></thead>'
    table = f"<table><caption>{html.escape(grid['caption'])}</caption>{head}<tbody>{''.join(lines)}</tbody></table>"
    return f'<div style="overflow-x: auto">{table}</div>'


def _origins(found: list[tuple[str, list[list[str]]]]) -> str:
    """Where numbers come from, as tables."""
    parts = []
    for caption, (head, *rows) in found:
        heads = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in head)
        lines = "".join(
            f'<tr><th scope="row">{html.escape(name)}</th>{"".join(f"<td>{html.escape(c)}</td>" for c in cells)}</tr>'
            for name, *cells in rows
        )
        parts.append(
            '<div style="overflow-x: auto"><table class="pclib-origin">'
            f"<caption>{html.escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"
        )
    return "".join(parts)
