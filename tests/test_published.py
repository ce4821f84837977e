"""The published tables: every cell against the source, and what the audit finds."""

from __future__ import annotations

import re
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pclib import published as tables
from pclib import table_plots
from pclib.published import audit, published, ranking, wins

printed_values = st.integers(0, 1000).map(lambda tenths: f"{tenths / 10:.1f}")


@pytest.mark.parametrize(("table", "rows"), [("S1", 15), ("S2", 10), ("S3", 7), ("S4", 6)])
def test_a_table_has_the_papers_rows_and_columns(table, rows):
    frame = published(table)
    assert frame.shape == (rows, 16) and list(frame.columns) == ["Avg", *tables.CATEGORIES]
    assert frame.index.is_unique and frame["Avg"].notna().all()
    frame.loc[:, "Avg"] = 0.0
    assert (published(table)["Avg"] > 0).all(), "what is returned is the caller's own"


def test_what_the_paper_leaves_out_is_not_a_number():
    assert list(published("S1").index[published("S1")["bottle"].isna()]) == ["SPADE", "PaDiM", "PaDiM*"]
    assert list(published("S2").index[published("S2")["bottle"].isna()]) == ["CAVGA-R_w"]
    with pytest.raises(ValueError, match="'S1', 'S2', 'S3', 'S4', got 'S5'"):
        published("S5")


@pytest.mark.golden
def test_every_cell_is_the_sources(golden):
    """Read by another route than the file was made by: all numbers of the English half, in their order."""
    (file,) = (golden.parent / "seeds").glob("*.txt")
    text = file.read_text(encoding="utf-8")
    text = text[text.index("Table S1.") :]
    lines = [line.split("\t")[1:] for line in text.splitlines() if line.count("\t") == 16]
    found = [cells for cells in lines if re.fullmatch(r"-|\d+(\.\d)?", cells[0].strip())]
    kept = [row for table in tables.TABLES for row in tables.printed(table).to_numpy().tolist()]
    assert [[cell.strip() for cell in cells] for cells in found] == kept and len(kept) == 38


def test_the_audit_finds_eight_averages_and_tells_the_one_from_the_seven():
    found = audit()
    assert len(found) == 38
    odd = found[found.verdict.isin([tables.ROUNDING, tables.OTHER])]
    assert len(odd) == 8
    (one,) = odd[odd.verdict == tables.OTHER].to_dict("records")
    assert (one["table"], one["method"], one["printed"]) == ("S1", "DifferNet", "94.9")
    assert one["mean of cells"] == pytest.approx(94.687, abs=5e-4)
    assert (found.verdict == tables.BARE).sum() == 4
    assert list(audit("S4").verdict).count(tables.ROUNDING) == 1


@given(st.lists(printed_values, min_size=1, max_size=15))
def test_an_average_rounded_from_its_cells_agrees_and_one_far_off_does_not(cells):
    mean = sum(map(Fraction, cells), Fraction(0)) / len(cells)
    nearest = Fraction(round(mean * 10), 10)
    assert tables._verdict(f"{float(nearest):.1f}", mean, cells) == tables.AGREES
    assert tables._verdict(f"{float(nearest + Fraction(3, 10)):.1f}", mean, cells) == tables.OTHER


@given(st.lists(st.floats(50, 99.9), min_size=15, max_size=15))
def test_no_average_of_true_values_is_called_impossible(values):
    cells, average = [f"{v:.1f}" for v in values], f"{np.mean(values):.1f}"
    assert tables._verdict(average, sum(map(Fraction, cells), Fraction(0)) / 15, cells) != tables.OTHER


@pytest.mark.parametrize("table", tables.TABLES)
def test_rankings_and_wins_bracket_what_is_printed(table):
    places = ranking(table)
    assert (places["best rank"] <= places["rank"]).all() and (places["rank"] <= places["worst rank"]).all()
    assert places["rank"].is_monotonic_increasing
    counted = wins(table)
    assert (counted["alone"] <= counted["as printed"]).all() and (counted["as printed"] <= counted["possibly"]).all()


def test_a_whole_number_may_stand_on_either_side_of_a_near_decimal():
    s1 = ranking("S1", "cable")  # CAVGA-R_w prints 92
    assert s1.loc["CAVGA-R_w", "value"] == 92
    assert tables._surely_above("92.6", "92") and not tables._surely_above("92.5", "92")
    with pytest.raises(ValueError, match="category must be one of"):
        ranking("S1", "cabel")


def test_each_row_says_where_it_comes_from():
    for table in tables.TABLES:
        assert (tables.sources(table)[["source", "run_by"]] != "").all(axis=None)
    assert "could not reproduce" in tables.sources("S1").loc["PaDiM*", "note"]


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_the_heat_map_says_every_printed_number():
    figure = table_plots.heat_map(published("S3"), "PRO", 60)
    assert words(figure.axes[0]) == [f"{v:.1f}" for v in published("S3").to_numpy().ravel()]
    bare = table_plots.heat_map(published("S1"), "image AUROC", 80)
    assert words(bare.axes[0]).count("–") == 3 * 15
    plt.close("all")


def test_the_rank_figure_stands_where_the_ranking_says():
    figure = table_plots.ranks("S3", ["SPADE"])
    (spade,) = [line for line in figure.axes[0].lines if line.get_label() == "SPADE"]
    places = [ranking("S3", c).loc["SPADE", "rank"] for c in ("Avg", *tables.CATEGORIES)]
    assert spade.get_ydata().tolist() == places and figure.axes[0].yaxis_inverted()
    plt.close("all")


def test_every_one_of_many_methods_has_a_look_and_a_column_of_its_own():
    names, rng = [f"method {i}" for i in range(9)], np.random.default_rng(0)
    lines = pd.DataFrame(
        {"method": name, "category": category, "metric": "PRO", "measured": m, "low": m - 2, "high": m + 1, "seeds": 1}
        for name in names
        for category, m in zip(("Avg", "bottle", "cable"), rng.uniform(60, 90, 3), strict=True)
    )
    figure = table_plots.intervals(lines, "PRO")
    points = [line for line in figure.axes[0].lines if line.get_marker() in table_plots.MARKERS]
    assert len({(line.get_color(), line.get_marker()) for line in points}) == len(names) == len(points)
    x = np.sort(np.concatenate([line.get_xdata() for line in points]))
    gaps = np.diff(x).reshape(-1)
    assert np.allclose(np.delete(gaps, [8, 17]), gaps[0]) and gaps[8] > 1.5 * gaps[0] > 0.1
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == names
    assert [line.get_ydata()[1] for line in points] == lines[lines.category == "bottle"].measured.tolist()
    plt.close("all")


def test_steps_point_where_a_number_goes_and_labels_do_not_overlap():
    s4 = published("S4")
    figure = table_plots.steps(s4.loc["layers 2, 3"], s4.loc["layers 1, 2, 3"], ("before", "after"))
    heads = [line.get_marker() for line in figure.axes[0].lines if line.get_marker() in "<>"]
    change = (s4.loc[("layers 1, 2, 3", "image AUROC")] - s4.loc[("layers 2, 3", "image AUROC")]).round(1)
    assert heads == [">" if c > 0 else "<" for c in change if c != 0]
    s2, s3 = (published(table).loc["PatchCore-10"].drop("Avg") for table in ("S2", "S3"))
    figure = table_plots.against(s2, s3, ("a", "b"), "")
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 15 and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    plt.close("all")
