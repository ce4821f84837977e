"""What the paper printed: tables S1-S4, where each row comes from, and whether it agrees with itself.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, supplementary material.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from pathlib import Path

import pandas as pd

from pclib._checks import one_of

CATEGORIES = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut"),
    *("pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
)
METRICS = {
    "S1": ("image AUROC",),
    "S2": ("pixel AUROC",),
    "S3": ("PRO",),
    "S4": ("image AUROC", "pixel AUROC", "PRO"),
}
TABLES = tuple(METRICS)
AVERAGE, DASH = "Avg", "-"
AGREES, ROUNDING, OTHER, BARE = "agrees", "rounding of the cells", "not from its cells", "no cells"
FILE = "tables.csv"


def published(table: str) -> pd.DataFrame:
    """A table as published: rows are methods, columns Avg and 15 categories, percent, NaN where it prints "-".

    S4's rows are (configuration, metric). Raises ValueError for an unknown table.
    """
    return printed(table).replace(DASH, "nan").astype(float)


def printed(table: str) -> pd.DataFrame:
    """The same as text, as printed: 90 is known less precisely than 90.0."""
    rows: dict[str | tuple[str, str], dict[str, str]] = {}
    for line in _lines(table):
        rows.setdefault(_name(line), {})[line["category"]] = line["value"]
    return pd.DataFrame(list(rows.values()), index=_index(table, list(rows)), columns=[AVERAGE, *CATEGORIES])


def sources(table: str) -> pd.DataFrame:
    """For each row of a table: how it was run, where its numbers first stood, whose run they are, and what to know."""
    lines = [line for line in _lines(table) if line["category"] == AVERAGE]
    columns = ["configuration", "source", "run_by", "note"]
    return pd.DataFrame([[line[c] for c in columns] for line in lines], _index(table, map(_name, lines)), columns)


def audit(tables: str | Sequence[str] = TABLES) -> pd.DataFrame:
    """Does each printed average follow from the row's own cells? One line for each row, means computed exactly.

    agrees                 the mean of the printed cells, rounded to the average's last digit, is the printed average
    rounding of the cells  it is not, but the cells were rounded too, and what they may have been before allows it
    not from its cells     it is not, and no cells that round to the printed ones allow it
    no cells               only an average is printed

    A printed value x with last digit u stands for all of [x - u/2, x + u/2].
    """
    lines = []
    for table in [tables] if isinstance(tables, str) else tables:
        for name, row in printed(table).iterrows():
            average, *cells = row
            known = [cell for cell in cells if cell != DASH]
            mean = sum(map(Fraction, known), Fraction(0)) / len(known) if known else None
            method, metric = name if isinstance(name, tuple) else (name, METRICS[table][0])
            lines.append(
                {
                    **{"table": table, "method": method, "metric": metric, "printed": average},
                    "mean of cells": float("nan") if mean is None else float(mean),
                    "difference": float("nan") if mean is None else float(Fraction(average) - mean),
                    "verdict": BARE if mean is None else _verdict(average, mean, known),
                }
            )
    return pd.DataFrame(lines)


def _verdict(average: str, mean: Fraction, cells: Sequence[str]) -> str:
    digit = last_digit(average)
    if Fraction(average) in (digit * floor(mean / digit + Fraction(1, 2)), digit * ceil(mean / digit - Fraction(1, 2))):
        return AGREES  # of two values equally near, either
    reach = digit / 2 + sum(map(last_digit, cells), Fraction(0)) / len(cells) / 2
    return ROUNDING if abs(Fraction(average) - mean) <= reach else OTHER


def ranking(table: str, category: str = AVERAGE) -> pd.DataFrame:
    """The rows of a column from best to worst. `rank` is the printed one; the true one lies in best to worst rank.

    A value that is no more than rounding away from another may stand on either side of it. S4 is ranked within each
    metric. Raises ValueError for an unknown table or category; rows without a value are left out.
    """
    one_of("category", category, (AVERAGE, *CATEGORIES))
    column = printed(table)[category]
    column = column[column != DASH]
    lines = []
    for name, value in column.items():
        rivals = [v for other, v in column.items() if other != name and _metric(other) == _metric(name)]
        above = sum(Fraction(v) > Fraction(value) for v in rivals)
        surely = sum(_surely_above(v, value) for v in rivals)
        below = sum(_surely_above(value, v) for v in rivals)
        lines.append([float(value), 1 + above, 1 + surely, 1 + len(rivals) - below])
    frame = pd.DataFrame(lines, column.index, ["value", "rank", "best rank", "worst rank"])
    return frame.sort_values(["rank", "best rank"], kind="stable")


def wins(table: str) -> pd.DataFrame:
    """In how many categories each row is best: surely and alone, as printed (ties count for all), or possibly."""
    frame = printed(table)
    counts = pd.DataFrame(0, frame.index, ["alone", "as printed", "possibly"])
    for category in CATEGORIES:
        places = ranking(table, category)
        counts.loc[places.index[places["worst rank"] == 1], "alone"] += 1
        counts.loc[places.index[places["rank"] == 1], "as printed"] += 1
        counts.loc[places.index[places["best rank"] == 1], "possibly"] += 1
    return counts


def last_digit(value: str) -> Fraction:
    """What the last printed digit is worth: 1 for "90", 1/10 for "90.0"; and 1/10 for "100", which is printed for 100.0
    in tables of one decimal."""
    if value == "100":
        return Fraction(1, 10)
    _, _, decimals = value.partition(".")
    return Fraction(1, 10 ** len(decimals))


def _surely_above(one: str, other: str) -> bool:
    return Fraction(one) - last_digit(one) / 2 > Fraction(other) + last_digit(other) / 2


def _metric(name: object) -> object:
    return name[1] if isinstance(name, tuple) else None


def _name(line: dict[str, str]) -> str | tuple[str, str]:
    return (line["configuration"], line["metric"]) if line["table"] == "S4" else line["row"]


def _index(table: str, names: Sequence | map) -> pd.Index:
    if table == "S4":
        return pd.MultiIndex.from_tuples(list(names), names=["configuration", "metric"])
    return pd.Index(list(names), name="method")


def _lines(table: str) -> list[dict[str, str]]:
    one_of("table", table, TABLES)
    return [line for line in _read() if line["table"] == table]


@lru_cache
def _read() -> list[dict[str, str]]:
    places = [Path(__file__).parents[1] / "data" / "published", Path(sys.prefix) / "share" / "pclib" / "published"]
    for place in places:
        if (place / FILE).is_file():
            with open(place / FILE, newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
    raise FileNotFoundError(
        f"{places[0] / FILE}: the published numbers are not there; install pclib from a whole clone"
    )
