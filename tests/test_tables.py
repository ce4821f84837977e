"""Published and measured side by side: what a cell says, what an average says, and why a cell is empty."""

from __future__ import annotations

import base64
import dataclasses
import math
import re

import numpy as np
import pytest

from pclib import tables
from pclib.cells import METRICS, Cell, Measured
from pclib.configurations import EMBEDDED, PAPER
from pclib.published import CATEGORIES
from pclib.store import NUMBERS, Store


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("PCLIB_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("PCLIB_PROFILE", "demo")
    return Store(tmp_path / "store")


def put(store, row, data, category, seed=0, image=0.9, reach=0.05, run=1, **provenance):
    values = {"image_auroc": image, "pixel_auroc": image - 0.02, "pro": image - 0.04}
    ends = (("", 0.0), ("_low", -reach), ("_high", reach))
    flat = {f"{name}{end}": value + by for name, value in values.items() for end, by in ends}
    counts = {"n_train": 9, "n_good": 5, "n_anomalous": 5, "n_regions": 6}
    scores = {"name": np.array(["a"]), "defect": np.array(["good"]), "score": np.array([seed + run])}
    store.add(Cell(row, data, category, seed), Measured(flat, counts, scores, {"all": 1.0}, 5, provenance), run)


def line(frame, category, method="PatchCore-10", metric="image AUROC"):
    (found,) = frame[(frame.category == category) & (frame.method == method) & (frame.metric == metric)].to_dict(
        "records"
    )
    return found


def test_a_cell_is_the_mean_over_seeds_with_interval_spread_and_difference(store):
    for seed, image in enumerate((0.96, 0.98)):
        put(store, PAPER["PatchCore-10"], "mvtec", "screw", seed, image, 0.01)
    found = line(tables.compare("S1", store, data="mvtec"), "screw")
    assert found["published"] == 97.0 and found["measured"] == pytest.approx(97.0)
    assert (found["low"], found["high"], found["seeds"]) == (pytest.approx(96.0), pytest.approx(98.0), 2)
    assert found["spread"] == pytest.approx(math.sqrt(2)) and found["difference"] == pytest.approx(0)
    assert found["verdict"] == "within" and found["missing"] == ""
    assert line(tables.compare("S1", store, data="mvtec", seeds=1), "screw")["measured"] == pytest.approx(96)


@pytest.mark.parametrize(
    ("image", "reach", "verdict"),
    [(0.96, 0.0094, "below"), (0.96, 0.0096, "within"), (0.98, 0.0094, "above"), (0.98, 0.0096, "within")],
)
def test_the_published_value_is_known_to_half_its_last_digit(store, image, reach, verdict):
    """Screw is printed as 97.0: what was rounded to it lies between 96.95 and 97.05."""
    put(store, PAPER["PatchCore-10"], "mvtec", "screw", 0, image, reach)
    assert line(tables.compare("S1", store, data="mvtec"), "screw")["verdict"] == verdict


def test_the_average_waits_for_all_categories_and_adds_their_errors_as_independent(store):
    frame = None
    for i, category in enumerate(CATEGORIES):
        put(store, PAPER["PatchCore-10"], "mvtec", category, 0, 0.9 + i / 1000, 0.03)
        frame = tables.measured("S1", store, data="mvtec")
        assert math.isnan(frame.loc["PatchCore-10", "Avg"]) == (i < 14)
    average = line(tables.compare("S1", store, data="mvtec"), "Avg")
    assert average["measured"] == pytest.approx(90.7)
    assert average["measured"] - average["low"] == pytest.approx(3 / math.sqrt(15))
    assert list(frame.columns) == ["Avg", *CATEGORIES] == list(tables.published("S1").columns)


def test_cells_that_are_missing_say_why(store, tmp_path, monkeypatch):
    frame = tables.compare("S1", store, data="mvtec")
    assert line(frame, "bottle")["missing"] == "no data" and line(frame, "Avg")["missing"] == "15 of 15 missing"
    monkeypatch.setattr(tables.inventory, "find", lambda data, category: tmp_path)
    assert line(tables.compare("S1", store, data="mvtec"), "bottle")["missing"] == "no weights"
    monkeypatch.setattr(tables, "_find_weights", lambda name: None)
    assert line(tables.compare("S1", store, data="mvtec"), "bottle")["missing"] == "not run"
    store.add_failure(Cell(PAPER["PatchCore-10"], "mvtec", "bottle", 0), "RuntimeError: cosmic ray")
    assert line(tables.compare("S1", store, data="mvtec"), "bottle")["missing"] == "failed: RuntimeError: cosmic ray"


def test_an_average_is_over_the_seeds_that_all_categories_have(store):
    rows = EMBEDDED["PatchCore-10"]
    for category, seeds in {"washer": (0, 1), "gravel": (1, 2), "weave": (1,)}.items():
        for seed in seeds:
            put(store, rows, "toybox", category, seed, 0.5 + seed / 10)
    found = line(tables.compare("S1", store, data="toybox"), "Avg")
    assert (found["measured"], found["seeds"]) == (pytest.approx(60), 1)
    put(store, EMBEDDED["PatchCore-1"], "toybox", "washer", 0)
    put(store, EMBEDDED["PatchCore-1"], "toybox", "gravel", 1)
    put(store, EMBEDDED["PatchCore-1"], "toybox", "weave", 1)
    assert line(tables.compare("S1", store, data="toybox"), "Avg", "PatchCore-1")["missing"] == "no seed in common"


def test_a_metric_that_the_pictures_do_not_define_is_not_called_missing(store):
    measured = Measured({"image_auroc": 0.9}, {}, {"score": np.zeros(1)}, {}, 1, {})
    nothing = dict.fromkeys(NUMBERS) | {"image_auroc": 0.9, "image_auroc_low": 0.8, "image_auroc_high": 1.0}
    counts = dict.fromkeys(("n_train", "n_good", "n_anomalous", "n_regions"), 1)
    store.add(
        Cell(EMBEDDED["PatchCore-10"], "toybox", "weave", 0),
        dataclasses.replace(measured, metrics=nothing, counts=counts),
    )
    assert line(tables.compare("S1", store, data="toybox"), "weave")["measured"] == pytest.approx(90)
    assert line(tables.compare("S3", store, data="toybox"), "weave", metric="PRO")["missing"].startswith("not defined")


def test_published_values_stand_only_beside_the_papers_own_parameters(store):
    impostor = PAPER["PatchCore-10"].changed("PatchCore-10", neighbors=3)
    put(store, impostor, "mvtec", "bottle", image=1.0)
    found = line(tables.compare("S1", store, data="mvtec", methods=[impostor]), "bottle")
    assert math.isnan(found["published"]) and found["measured"] == 100
    with pytest.raises(ValueError, match="two configurations are called 'PatchCore-10'"):
        tables.compare("S1", store, data="mvtec", methods=[impostor, "PatchCore-10", PAPER["PatchCore-10"]])


def test_other_data_have_a_table_of_their_own_without_published_numbers(store):
    put(store, EMBEDDED["PatchCore-10"], "toybox", "weave", image=0.91)
    frame = tables.compare("S1", store, data="toybox")
    assert "published" not in frame and set(frame.category) == {"Avg", "washer", "gravel", "weave"}
    assert tables.measured("S1", store, data="toybox").loc["PatchCore-10", "weave"] == pytest.approx(91)
    assert tables.measured("S1", store.folder, data="mvtec").isna().all(axis=None)
    shown = tables.show("S1", store, data="toybox").to_html()
    assert "91.0 (86.0 to 96.0)" in shown and "not run" in shown and "not to be compared" in shown


def test_what_is_shown_says_by_sign_and_colour_where_a_value_lies(store):
    for category, image in {"screw": 0.97, "bottle": 0.9, "pill": 0.999}.items():
        put(store, PAPER["PatchCore-10"], "mvtec", category, 0, image, 0.001)
    shown = tables.show("S1", store, data="mvtec").to_html()
    for text in ("97.0 ● +0.0", "90.0 ▼ -10.0", "99.9 ▲ +3.9", "no data"):
        assert text in shown, text
    assert len({colour for colour in tables.COLOURS.values() if colour in shown}) == 3


def test_s4_has_the_form_of_the_published_one(store):
    put(store, PAPER["layers 2, 3"], "mvtec", "bottle", image=0.99)
    frame = tables.measured("S4", store, data="mvtec")
    assert frame.index.equals(tables.published("S4").index) and frame.index.names == tables.published("S4").index.names
    assert frame.loc[("layers 2, 3", "PRO"), "bottle"] == pytest.approx(95)
    assert line(tables.compare("S4", store, data="mvtec"), "bottle", "layers 2, 3", "PRO")["published"] == 96.6
    assert "95.0" in tables.show("S4", store, data="mvtec").to_html()


def test_configurations_of_ones_own_stand_in_a_table_by_name(store):
    mine = PAPER["PatchCore-10"].changed("PatchCore-5", coreset=0.05)
    put(store, mine, "mvtec", "bottle", image=0.5)
    assert tables.measured("S1", store, data="mvtec", methods=[mine]).loc["PatchCore-5", "bottle"] == 50
    compared = line(tables.compare("S1", store, data="mvtec", methods=[mine]), "bottle", "PatchCore-5")
    assert math.isnan(compared["published"]) and compared["verdict"] == ""


def test_drift_names_what_changed_between_two_runs(store):
    assert len(tables.drift(store)) == 0
    row = PAPER["PatchCore-10"]
    put(store, row, "mvtec", "bottle", image=0.95, run=1, code="a", host="x")
    put(store, row, "mvtec", "bottle", image=0.96, run=2, code="b", host="x")
    put(store, row, "mvtec", "cable", image=0.96, run=1, code="b", host="x")
    frame = tables.drift(store)
    assert frame["metric"].tolist() == list(METRICS) and set(frame.changed) == {"code"}
    assert frame["difference"].tolist() == pytest.approx([1, 1, 1]) and set(frame.category) == {"bottle"}


def test_every_number_can_be_traced(store):
    with pytest.raises(ValueError, match="holds no measurement of 'PatchCore-10' on mvtec/bottle"):
        tables.trace("PatchCore-10", "bottle", store, data="mvtec")
    for seed in (1, 0):
        put(store, PAPER["PatchCore-10"], "mvtec", "bottle", seed, weights="w" * 64)
    frame = tables.trace("PatchCore-10", "bottle", store, data="mvtec")
    assert list(frame.columns) == ["seed 0, run 1", "seed 1, run 1"]
    assert frame.loc["weights_sha256"].tolist() == ["w" * 64] * 2
    assert '"coreset": 0.1' in frame.loc["parameters"].iloc[0]


def test_a_download_is_the_table_as_csv(store):
    link = tables.download(tables.published("S1"), "s1.csv")._repr_html_()
    text = base64.b64decode(re.search(r"base64,([^\"]+)", link)[1]).decode()
    assert text.startswith("method,Avg,bottle") and "PatchCore-25,99.1,100.0" in text and 'download="s1.csv"' in link


@pytest.mark.parametrize("wanted", [tables.measured, tables.compare, tables.show])
def test_unknown_tables_and_rows_are_refused(wanted, store):
    with pytest.raises(ValueError, match="table must be one of"):
        wanted("S5", store)
    with pytest.raises(ValueError, match="no configuration 'PatchCore-5'"):
        wanted("S1", store, methods=["PatchCore-5"])
    with pytest.raises(ValueError, match=r"no data set or folder '.*mvtek'"):
        wanted("S1", store, data="mvtek")


def test_a_live_table_is_shown_and_updated(store, monkeypatch):
    shown = []

    class Handle:
        def update(self, table):
            shown.append(table.to_html())

    monkeypatch.setattr("IPython.display.display", lambda table, display_id: shown.append(table.to_html()) or Handle())
    each = tables.live("S1", store, data="mvtec")
    cell = Cell(PAPER["PatchCore-10"], "mvtec", "screw", 0)
    put(store, cell.configuration, "mvtec", "screw", image=0.97)
    each(cell)
    assert ["97.0 ●" in html for html in shown] == [False, True]
