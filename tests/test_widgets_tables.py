"""Table explorer: the numbers of the tables, what is chosen of them, and what each rests on."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest

from pclib import tables
from pclib.cells import PICTURES, Cell, Measured
from pclib.configurations import EMBEDDED, PAPER
from pclib.published import AVERAGE, CATEGORIES
from pclib.store import Store
from pclib.toybox import Toybox
from pclib.widgets import TableExplorer, TableState
from pclib.widgets.state import Choose, Several, Switch

TITLES = ["Image scores of the chosen cell", "Good pictures that score highest, defective ones lowest"]


@pytest.fixture(autouse=True)
def nothing_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("PCLIB_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("PCLIB_PROFILE", "demo")
    monkeypatch.setenv("PCLIB_STORE", str(tmp_path / "default"))


def put(store, row, data, category, names, image=0.9, reach=0.05, seed=0):
    """A measurement with these test pictures; scores rise with the place in the list."""
    values = {"image_auroc": image, "pixel_auroc": image - 0.02, "pro": image - 0.04}
    ends = (("", 0.0), ("_low", -reach), ("_high", reach))
    flat = {f"{name}{end}": value + by for name, value in values.items() for end, by in ends}
    counts = {"n_train": 9, "n_good": 5, "n_anomalous": 5, "n_regions": 6}
    defects = np.array([name.split("/")[1] for name in names])
    scores = {"name": np.array(names), "defect": defects, "score": 10 * np.arange(len(names), dtype=np.float32) + seed}
    provenance = {"code": "1.0+abc", "data": "d" * 64, "weights": "w" * 64, "host": "here", "versions": {"numpy": "2"}}
    store.add(Cell(row, data, category, seed), Measured(flat, counts, scores, {"all": 1.0}, 5, provenance))


NAMES = [f"test/{kind}/{i:03d}.png" for i in range(4) for kind in ("good", "bent")]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """PatchCore-10 on screw (two seeds) and bottle of MVTec AD, and on the toybox's washer."""
    store = Store(tmp_path_factory.mktemp("measured"))
    for seed, image in enumerate((0.96, 0.98)):
        put(store, PAPER["PatchCore-10"], "mvtec", "screw", NAMES, image, 0.01, seed)
    put(store, PAPER["PatchCore-10"], "mvtec", "bottle", NAMES, 0.9, 0.01)
    washers = [sample.name for sample in Toybox("washer", **PICTURES).test]
    put(store, EMBEDDED["PatchCore-10"], "toybox", "washer", washers)
    return store


@pytest.fixture
def mvtec(store):
    return TableState("S1", store, data="mvtec", show="measured")


@pytest.mark.parametrize("table", ["S1", "S2", "S3", "S4"])
def test_the_published_table_alone_is_the_papers(table):
    state = TableState(table)
    for metric in dict.fromkeys(tables.audit(table)["metric"]):
        state.metric = metric
        frame = tables.printed(table)
        frame = frame.xs(metric, level="metric") if table == "S4" else frame
        grid = state.grid()
        assert [column["key"] for column in grid["columns"]] == [AVERAGE, *CATEGORIES]
        assert [row["key"] for row in grid["rows"]] == list(frame.index)
        for row in grid["rows"]:
            texts = [cell["text"] for cell in row["cells"]]
            assert texts == ["–" if text == "-" else text for text in frame.loc[row["key"]]]
        assert f"Table {table}, {metric} in percent, as published, on MVTec AD" in state.words()
    assert "PatchCore-25, bottle: 100" in [c["name"] for r in TableState("S1").grid()["rows"] for c in r["cells"]]


def test_the_highest_of_a_column_is_marked_and_said():
    state = TableState("S1", sort="screw")
    column = tables.published("S1")["screw"]
    best = [row["key"] for row in state.grid()["rows"] if row["cells"][1 + CATEGORIES.index("screw")]["best"]]
    assert best == column.index[column == column.max()].tolist() == ["ITAE"]
    assert "Highest in the column screw: 100, ITAE." in state.words()
    state.methods = ("PaDiM", "PatchCore-25", "PatchCore-1")
    assert "Highest in the column screw: 98.1, PatchCore-25." in state.words()
    state.methods = ("PaDiM",)
    assert "No number in the column screw." in state.words()


@pytest.mark.parametrize("descending", [True, False])
def test_sorting_is_that_of_pandas_with_missing_numbers_last(descending):
    state = TableState("S1", sort="cable", descending=descending)
    expected = tables.published("S1")["cable"].sort_values(ascending=not descending, na_position="last", kind="stable")
    values = tables.published("S1")["cable"].loc[state.shown_rows()]
    assert values.tolist()[:12] == expected.tolist()[:12] and values.tolist()[12:] != values.tolist()[12:]
    heads = {column["key"]: column["sort"] for column in state.grid()["columns"]}
    assert heads["cable"] == ("descending" if descending else "ascending") and heads["bottle"] == "none"
    assert f"sorted by cable, {'highest' if descending else 'lowest'} first" in state.words()
    state.sort = ""
    assert state.shown_rows() == list(tables.published("S1").index) and "in the paper’s order" in state.words()


def test_measured_cells_have_value_interval_and_spread(mvtec):
    mvtec.cell = "PatchCore-10", "screw"
    assert mvtec.entry("PatchCore-10", "screw").text == "97.0"
    assert "PatchCore-10, screw: 97.0, 95 % interval 96.0 to 98.0." in mvtec.words()
    assert "Mean over 2 seeds, whose standard deviation is 1.4." in mvtec.words()
    assert mvtec.entry("PatchCore-10", "cable").words == "not measured: no data"
    assert "118 of 120 cells not measured: no data 118." in mvtec.words()
    assert mvtec.entry("PatchCore-10", AVERAGE).words == "not measured: 13 of 15 missing"


def test_differences_have_signs_and_words(store):
    state = TableState("S1", store, data="mvtec", show="difference", cell=("PatchCore-10", "bottle"))
    assert (
        state.entry("PatchCore-10", "bottle").text == "-10.0 ▼"
        and state.entry("PatchCore-10", "screw").text == "+0.0 ●"
    )
    assert "-10.0, measured 90.0, published 100; the measured value lies below the published one" in state.words()
    assert [caption for caption, _ in state.origin()] == [
        "Where PatchCore-10's published numbers come from",
        "What PatchCore-10's measured numbers on bottle rest on",
    ]


def test_what_was_not_measured_on_mvtec_never_stands_beside_published_numbers(store):
    with pytest.raises(ValueError, match="published and measured numbers of other pictures are not compared"):
        TableState("S1", store, data="toybox", show="difference")
    state = TableState("S1", store, data="toybox")
    with pytest.raises(ValueError, match="takes numbers measured on MVTec AD, and these are from toybox"):
        state.show = "difference"
    assert state.show == "published" and "does not stand beside it" in state.words()
    (control,) = (c for c in state.controls() if c.trait == "show")
    assert list(control.options.values()) == ["published", "measured"]
    state.show = "measured"
    assert set(state.shown_columns()) == {AVERAGE, "washer", "gravel", "weave"}
    texts = [*(cell["name"] for row in state.grid()["rows"] for cell in row["cells"]), state.words(), state.caption()]
    assert not any("published" in text for text in texts)
    state.cell = "PatchCore-10", "washer"
    assert [caption for caption, _ in state.origin()] == ["What PatchCore-10's measured numbers on washer rest on"]


def test_the_origin_of_a_number_is_its_source_or_its_runs(mvtec):
    published = TableState("S1", cell=("DSEBM", "screw"))
    ((_, rows),) = published.origin()
    assert ["what to know", "whose run it is could not be found out"] in rows and rows[0] == ["published", "DSEBM"]
    mvtec.cell = "PatchCore-10", "screw"
    ((_, rows),) = mvtec.origin()
    facts = {name: values for name, *values in rows}
    assert facts["measured"] == ["seed 0, run 1", "seed 1, run 1"]
    assert facts["image AUROC, percent"] == ["96.0 (95.0 to 97.0)", "98.0 (97.0 to 99.0)"]
    assert facts["pictures, SHA-256"] == ["d" * 12] * 2 and facts["versions"] == ["numpy: 2"] * 2
    assert facts["tested on"][0] == "5 good, 5 defective" and "taken from store" not in facts
    mvtec.cell = "PatchCore-10", "cable"
    assert mvtec.origin() == []


def test_image_scores_and_worst_pictures_of_a_cell(mvtec):
    assert [p.title for p in mvtec.panels()] == TITLES and "no cell is chosen" in mvtec.panels()[0].alt
    mvtec.cell = "PatchCore-10", "screw"
    strip, worst = mvtec.panels()
    assert [strip.title, worst.title] == TITLES
    assert "from 0.00 to 70.0: 4 good pictures as dots below, 4 defective ones as squares above" in strip.alt
    good, bent = (["good/003", "good/002", "good/001"], ["bent/000", "bent/001", "bent/002"])
    assert re.findall(r"\w+/\d+", worst.alt) == good + bent
    assert "1 of 4 defective pictures score above all 4 good ones" in mvtec.words(), "70 is above 60, 50 is not"
    assert (worst.pixels[40:100, 60:120] == worst.pixels[60, 90]).all(), "grey: the pictures are not at hand"
    mvtec.cell = "PatchCore-10", AVERAGE
    assert "image scores belong to a measured cell of one category" in mvtec.panels()[0].alt
    mvtec.show = "published"
    assert "the paper prints no image scores" in mvtec.panels()[1].alt


def test_the_worst_pictures_are_shown_where_they_are_at_hand(store):
    state = TableState("S1", store, data="toybox", show="measured", cell=("PatchCore-10", "washer"))
    state.prepare()
    worst = state.panels()[1]
    assert worst.photo and worst.pixels[:120].std() > 20
    last = [name for name in (s.name for s in Toybox("washer", **PICTURES).test) if "/good/" in name][-1]
    assert last.removeprefix("test/").removesuffix(".png") in worst.alt


def test_scores_that_are_gone_are_said_to_be(tmp_path):
    store = Store(tmp_path / "store")
    put(store, EMBEDDED["PatchCore-10"], "toybox", "washer", NAMES)
    for file in (store.folder / "scores").iterdir():
        file.unlink()
    state = TableState("S1", store, data="toybox", show="measured", cell=("PatchCore-10", "washer"))
    assert "these image scores are gone" in state.panels()[0].alt and "90.0" in state.words()


def test_nothing_chosen_is_said_and_no_error():
    state = TableState("S1", methods=[], categories=[], cell=("PaDiM", "bottle"), sort="bottle")
    assert "No method and no column is chosen, so there is nothing to show." in state.words()
    assert state.grid()["rows"] == state.grid()["columns"] == [] and state.chosen() is None
    state.methods = ("PaDiM",)
    assert "No column is chosen" in state.words() and "0 of 16 columns" in state.words()
    assert "<table>" in TableExplorer("S1", methods=[]).figure()._repr_html_()


def test_an_empty_store_has_a_measured_table_without_numbers(tmp_path):
    state = TableState("S2", tmp_path / "empty", data="mvtec", show="measured", cell=("PatchCore-1", "tile"))
    assert (
        "75 of 75 cells not measured: no data 75." in state.words() and "No number in the column tile." in state.words()
    )
    assert {cell["text"] for row in state.grid()["rows"] for cell in row["cells"]} == {"–"}


def test_another_table_keeps_what_it_has_of_what_was_chosen(mvtec):
    mvtec.methods, mvtec.categories = ("PatchCore-1", "PatchCore-10"), ("tile", "bottle")
    assert mvtec.methods == ("PatchCore-10", "PatchCore-1") and mvtec.categories == ("bottle", "tile"), "in its order"
    mvtec.sort, mvtec.cell = "tile", ("PatchCore-1", "tile")
    mvtec.show, mvtec.table = "published", "S3"
    assert (mvtec.methods, mvtec.categories) == (("PatchCore-10", "PatchCore-1"), ("bottle", "tile"))
    assert (mvtec.metric, mvtec.sort, mvtec.cell) == ("PRO", "tile", ("PatchCore-1", "tile"))
    mvtec.table = "S4"
    assert mvtec.methods == ("layers 2, 3", "layers 1, 2, 3") and mvtec.metric == "PRO" and mvtec.cell == ()
    mvtec.table = "S1"
    assert mvtec.metric == "image AUROC" and len(mvtec.methods) == 15, "all of one table is all of another"


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"table": "S5"}, "table must be one of 'S1'"),
        ({"metric": "PRO"}, "metric must be one of 'image AUROC', got 'PRO'"),
        ({"show": "both"}, "show must be one of"),
        ({"sort": "washer"}, "sort must be one of"),
        ({"methods": ["PatchCore-5"]}, "methods must be one of"),
        ({"methods": "PaDiM"}, "methods must be a list of names, got the text 'PaDiM'"),
        ({"categories": ["washer"]}, "categories must be one of"),
        ({"cell": ("PaDiM",)}, r"cell must be \(method, category\)"),
        ({"cell": ("PaDiM", "washer")}, "the cell's category must be one of"),
        ({"cell": ("Padim", "bottle")}, "the cell's method must be one of"),
    ],
)
def test_what_is_not_in_the_table_is_refused(chosen, said):
    with pytest.raises(ValueError, match=said):
        TableState(**chosen)
    ((trait, value),) = chosen.items()
    if not isinstance(value, str) or trait in ("table", "metric", "show", "sort"):
        state = TableState()
        words = state.words()
        with pytest.raises(ValueError, match=said):
            setattr(state, trait, tuple(value) if isinstance(value, list) else value)
        assert state.words() == words


def test_arguments_reproduce_a_state(store):
    chosen = {
        **{"table": "S4", "metric": "PRO", "show": "difference", "methods": ("layers 2, 3",), "sort": "screw"},
        **{"categories": ("Avg", "screw"), "descending": False, "cell": ("layers 2, 3", "screw"), "data": "mvtec"},
    }
    state = TableState(store=store, **chosen)
    again = {name: getattr(state, name) for name in chosen}
    assert again == chosen and TableState(store=store, **again).words() == state.words()


def test_the_view_follows_and_leads(store):
    explorer = TableExplorer("S1", store, data="mvtec")
    state, controls, grid = explorer.state, explorer._controls, explorer._grid
    assert {type(c) for c in state.controls()} == {Choose, Switch, Several}
    assert len(controls["methods"].value) == 15 and controls["sort"].value == ""
    controls["methods"].value = ("PaDiM", "ITAE")
    assert state.methods == ("ITAE", "PaDiM") and [row["key"] for row in grid.table["rows"]] == ["ITAE", "PaDiM"]
    controls["categories"].value = ()
    assert "No column is chosen" in explorer._words.text and explorer._words.trouble == ""
    controls["categories"].value = ("Avg", "screw")
    grid.picked = ["ITAE", "screw", 1]
    assert state.cell == ("ITAE", "screw") == tuple(grid.chosen) and "ITAE, screw: 100." in explorer._words.text
    assert "whose run it is" in explorer._origin.value
    for count, (sort, descending) in enumerate((("screw", True), ("screw", False), ("Avg", False))):
        grid.pressed = [sort, count + 1]
        assert (state.sort, state.descending) == (sort, descending)
    assert controls["sort"].value == "Avg" and controls["descending"].value is False
    controls["show"].value = "measured"
    assert state.show == "measured" and controls["methods"].value == state.methods == ("PaDiM",)
    assert state.cell == () and grid.chosen == [] and explorer._origin.value == ""
    controls["table"].value = "S4"
    assert list(dict(controls["metric"].options)) == ["image AUROC", "pixel AUROC", "PRO"]
    controls["metric"].value = "PRO"
    assert "PRO" in grid.table["caption"]
    with pytest.raises(ValueError, match="the cell's method"):
        grid.picked = ["PaDiM", "screw", 2]
    assert "the cell's method must be" in explorer._words.trouble and state.cell == ()
    explorer.close()
    assert grid.comm is None


def test_the_figure_holds_the_table_as_html(store):
    figure = TableExplorer("S1", store, data="mvtec", show="difference", cell=("PatchCore-10", "screw")).figure()
    shown = figure._repr_html_()
    assert shown.count("<tr>") > 6 and '<th scope="row">PatchCore-10</th>' in shown and "<caption>" in shown
    assert "+0.0 ●" in shown and 'style="outline: 2px solid"' in shown and len(shown) < 100_000
    assert html.escape(figure.words.splitlines()[-1]) in shown and shown.count("alt=") == 2
