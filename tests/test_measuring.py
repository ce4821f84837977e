"""Cells measured together, and the store that keeps them."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from pclib import cells, configurations, evaluate, measuring, store
from pclib.cells import Cell
from pclib.configurations import EMBEDDED, PAPER
from pclib.measuring import open_bench
from pclib.patchcore import PatchCore
from pclib.store import Store
from pclib.toybox import Toybox

TINY = {"train": 6, "good": 3, "defective": 4, "size": 64, "seed": 0}


@pytest.fixture
def tiny(monkeypatch):
    """Embedded categories of a few small pictures: what cells share is the same, only less."""
    monkeypatch.setattr(cells, "PICTURES", TINY)


def shares(seeds=(0,), category="washer"):
    small = {"resize": 64, "crop": 64}
    rows = [EMBEDDED[name].changed(name, **small) for name in ("PatchCore-25", "PatchCore-10", "PatchCore-1")]
    return [Cell(row, "toybox", category, seed) for seed in seeds for row in rows]


@pytest.fixture
def measured(tiny):
    cell = shares()[1]
    return cell, open_bench([cell]).measure(cell)


def test_shares_are_measured_with_one_feature_pass_and_one_greedy_run_for_each_seed(tiny, monkeypatch):
    passes, runs = [], []
    embed, greedy = PatchCore.embed, measuring.greedy
    monkeypatch.setattr(PatchCore, "embed", lambda self, p, *a: passes.append(len(p.samples)) or embed(self, p, *a))
    monkeypatch.setattr(measuring, "greedy", lambda v, size, **k: runs.append(size) or greedy(v, size, **k))
    asked = shares(seeds=(0, 1))
    bench = open_bench(asked)
    for cell in asked:
        bench.measure(cell)
    assert passes == [TINY["train"], TINY["good"] + TINY["defective"]]
    assert runs == [int(0.25 * 6 * 64)] * 2


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_cell_measured_with_others_is_what_it_is_alone_and_what_the_class_gives(tiny, place):
    asked = shares()
    together = open_bench(asked)
    cell = asked[place]
    found, alone = (
        [b.measure(c) for c in cs][-1] for b, cs in ((together, asked[: place + 1]), (open_bench([cell]), [cell]))
    )
    assert found.metrics == alone.metrics
    assert np.array_equal(found.scores["score"], alone.scores["score"])
    category, share = cell.open(), cell.configuration.parameters["coreset"]
    scores = PatchCore(resize=64, crop=64, coreset=share).fit(category.train).score(category.test)
    assert np.array_equal(scores.image, found.scores["score"])
    assert evaluate(scores).pro == found.metrics["pro"]


def test_embedded_pictures_are_drawn_once_for_all_methods_and_anew_when_others_are_asked_for(monkeypatch):
    opened = []
    monkeypatch.setattr(
        measuring, "Toybox", lambda name, **knobs: opened.append(knobs["seed"]) or Toybox(name, **knobs)
    )
    small = {"resize": 64, "crop": 64}
    rows = [EMBEDDED[name].changed(name, **small) for name in ("PatchCore-10", "PaDiM", "SPADE")]
    for seed in (17, 18):
        monkeypatch.setattr(cells, "PICTURES", {**TINY, "seed": seed})
        for cell in (Cell(row, "toybox", "washer", 0) for row in rows):
            open_bench([cell]).measure(cell)
    assert opened == [17, 18]


def test_features_that_would_fill_the_memory_go_to_a_file_and_change_nothing(tiny, monkeypatch, measured):
    cell, expected = measured
    monkeypatch.setattr(measuring, "ROOM", 0.0)
    bench = open_bench([cell])
    assert bench.measure(cell).metrics == expected.metrics
    assert isinstance(bench.shared.train_features, np.memmap)


def test_a_category_of_a_known_set_that_is_not_here_says_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PCLIB_DATA", str(tmp_path))
    cell = Cell(PAPER["PatchCore-1"], "mvtec", "bottle", 0)
    with pytest.raises(FileNotFoundError, match="pclib data fetch mvtec"):
        open_bench([cell]).measure(cell)


def test_a_parameter_that_this_version_fixes_is_refused_with_another_value():
    row = PAPER["PatchCore-1"].changed("wide", patchsize=5)
    with pytest.raises(ValueError, match="patchsize is 3"):
        open_bench([Cell(row, "toybox", "washer", 0)])
    with pytest.raises(ValueError, match="no parameter 'patch_size'; it has patchsize"):
        PAPER["PatchCore-1"].changed("wide", patch_size=5)
    with pytest.raises(ValueError, match="no configuration 'PatchCore-5'"):
        configurations.find("PatchCore-5", PAPER)


def test_cells_of_one_group_differ_in_share_and_seed_alone():
    asked = shares(seeds=(0, 1))
    assert len({c.group for c in asked}) == 1 and len({c.key for c in asked}) == 6
    assert len({c.group for c in [*asked, *shares(category="gravel")]}) == 2
    paper = [Cell(row, "mvtec", "bottle", 0) for row in PAPER.values()]
    patchcore = {c.group for c in paper if c.configuration.method == "patchcore"}
    assert len(patchcore) == 3, "one WideResNet50, two hierarchies of WideResNet101"
    assert len({c.group for c in paper}) == 3 + len(paper) - 5, "any other method shares nothing but with other seeds"


NEXT_DOOR = [name for name, row in EMBEDDED.items() if row.method != "patchcore"]


@pytest.mark.parametrize("name", NEXT_DOOR)
def test_a_row_next_door_is_measured_as_its_class_scores(tiny, name):
    row = EMBEDDED[name].changed(name, resize=64, crop=64, **({"augmentation": 2} if name == "MahalanobisAD" else {}))
    cell = Cell(row, "toybox", "washer", 1)
    found, category = open_bench([cell]).measure(cell), cell.open()
    own = measuring.open_method(row, seed=1).fit(category.train).score(category.test)
    assert np.array_equal(found.scores["score"], own.image)
    expected = evaluate(own)
    assert (found.metrics["image_auroc"], found.metrics["pro"]) == (expected.image_auroc, expected.pro)
    assert (expected.pro is None) == (row.method in ("mahalanobis", "ocsvm"))
    assert set(found.timing) == {"reading", "fitting", "scoring", "metrics"} and found.counts["n_train"] == 6


@pytest.mark.parametrize(("name", "fits"), [("PaDiM", 2), ("SPADE", 1)])
def test_a_method_that_draws_nothing_is_fitted_once_for_all_seeds(tiny, monkeypatch, name, fits):
    row = EMBEDDED[name].changed(name, resize=64, crop=64)
    cells_of_it = [Cell(row, "toybox", "washer", seed) for seed in (0, 1)]
    assert cells_of_it[0].group == cells_of_it[1].group
    bench, fitted, kind = open_bench(cells_of_it), [], measuring.CLASSES[row.method]
    plain = kind.fit_pictures
    monkeypatch.setattr(kind, "fit_pictures", lambda self, *a: fitted.append(1) or plain(self, *a))
    first, second = map(bench.measure, cells_of_it)
    assert len(fitted) == fits
    assert np.array_equal(first.scores["score"], second.scores["score"]) == (fits == 1)


def test_every_row_says_whose_run_the_published_one_is_and_what_was_inferred():
    for row in PAPER.values():
        assert row.published.endswith(".") and set(row.inferred) <= {*row.parameters, "seed"}, row.name
    assert "best variant" in PAPER["MahalanobisAD"].published and "not known" in PAPER["OCSVM"].published
    assert {t: len(configurations.rows_of(t, PAPER)) for t in ("S1", "S2", "S3", "S4")} == {
        **{"S1": 8, "S2": 5, "S3": 5, "S4": 2}
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("SPADE", [256, 512, 1024, 2048]),
        ("PaDiM", [256, 512, 1024]),
        ("PaDiM*", [40, 128, 176]),
        ("MahalanobisAD", [48, 24, 32, 56, 112, 160, 272, 448, 1792]),
        ("OCSVM", [2048]),
        ("PaDiM-R18-Rd100", [64, 128, 256]),
    ],
)
def test_the_papers_rows_are_put_together_from_networks_of_the_right_shape(name, widths):
    detector = measuring.open_method(PAPER[name], weights="random")
    assert [shape[0] for shape in detector.shapes.values()] == widths
    own = {k: v for k, v in PAPER[name].parameters.items() if k in detector.parameters}
    assert own == {k: v for k, v in detector.parameters.items() if k != "seed"}
    if name.startswith("PaDiM"):
        assert detector.grid == (56, 56)


def test_a_method_refuses_a_value_that_it_fixes():
    row = PAPER["PaDiM"].changed("sharp", sigma=1.0)
    with pytest.raises(ValueError, match=r"sigma is 4\.0 in this version of padim, not 1\.0"):
        open_bench([Cell(row, "toybox", "washer", 0)])


def test_a_measurement_comes_back_as_it_was_kept_and_is_kept_once(tmp_path, measured):
    cell, found = measured
    kept = Store(tmp_path / "s")
    with kept.writing():
        kept.add_failure(cell, "no data")
        assert kept.failures() == {cell.key: "no data"}
        assert kept.add(cell, found) and not kept.add(cell, found)
    again = Store(tmp_path / "s")
    (row,) = again.rows()
    assert {name: row[name] for name in found.metrics} == dict(found.metrics)
    assert row["parameters"] == dict(cell.configuration.parameters) and row["provenance"] == dict(found.provenance)
    assert np.array_equal(again.scores(row["scores"])["score"], found.scores["score"])
    assert again.runs() == {cell.key: 1} and again.failures() == {}


def test_a_second_writer_is_refused_while_readers_go_on(tmp_path):
    first, second = Store(tmp_path), Store(tmp_path)
    with first.writing():
        assert len(second) == 0
        with pytest.raises(ValueError, match="another sweep is writing"), second.writing():
            pass
    with second.writing():
        pass


def test_a_store_from_a_newer_version_or_that_is_damaged_is_refused(tmp_path):
    Store(tmp_path)
    with sqlite3.connect(tmp_path / store.FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ValueError, match="newer pclib"):
        Store(tmp_path)
    (tmp_path / store.FILE).write_bytes(b"not a database at all" * 100)
    (tmp_path / "results.schema0.backup.sqlite").write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)damaged .*schema0\.backup"):
        Store(tmp_path)


def test_counts_stay_whole_numbers_beside_a_method_without_maps(tmp_path, measured):
    cell, found = measured
    mapless = Cell(EMBEDDED["OCSVM"], *(cell.data, cell.category, cell.seed))
    kept = Store(tmp_path)
    kept.add(cell, found)
    kept.add(mapless, replace(found, counts={**found.counts, "n_regions": None}))
    frame = kept.frame().set_index("configuration")
    assert str(frame.n_regions["PatchCore-10"]) == str(found.counts["n_regions"]) and frame.n_regions.isna()["OCSVM"]
    assert frame.n_good.tolist() == [found.counts["n_good"]] * 2
    csv = kept.export(tmp_path / "all.csv").read_text()
    assert f",{found.counts['n_anomalous']},{found.counts['n_regions']}," in csv


def test_an_older_store_is_copied_and_brought_up_to_date_or_left_as_it_was(tmp_path, monkeypatch, measured):
    kept = Store(tmp_path)
    kept.add(*measured)
    monkeypatch.setattr(store, "SCHEMA", 2)
    monkeypatch.setitem(store.MIGRATIONS, 1, "CREATE TABLE more (x); NO SUCH STATEMENT")
    with pytest.raises(ValueError, match="is as it was"):
        Store(tmp_path)
    monkeypatch.setitem(store.MIGRATIONS, 1, "CREATE TABLE more (x)")
    assert len(Store(tmp_path)) == 1
    assert (tmp_path / "results.schema1.backup.sqlite").is_file()


def test_a_store_held_by_another_program_is_an_error_after_seconds(tmp_path, monkeypatch, measured):
    kept = Store(tmp_path)
    monkeypatch.setattr(store, "PATIENCE", 0.1)
    other = sqlite3.connect(kept.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ValueError, match="held by another program"):
        kept.add(*measured)
    other.close()


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, measured):
    kept = Store(tmp_path)

    def full(path, **_):
        path.write_bytes(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match=r"No space left on device; free some space.*scores"):
        kept.add(*measured)
    assert len(kept) == 0 and not list(tmp_path.rglob("*.npz"))


def test_altered_and_missing_scores_are_noticed(tmp_path, measured):
    kept = Store(tmp_path)
    kept.add(*measured)
    (row,) = kept.rows()
    (file,) = tmp_path.rglob("*.npz")
    np.savez(file, score=np.zeros(3))
    with pytest.raises(ValueError, match="altered"):
        kept.scores(row["scores"])
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match="damaged"):
        kept.scores(row["scores"])
    file.unlink()
    with pytest.raises(FileNotFoundError, match="again=True"):
        kept.scores(row["scores"])


def test_another_store_is_taken_over_once_and_differences_are_reported(tmp_path, measured):
    cell, found = measured
    mine, theirs = Store(tmp_path / "mine"), Store(tmp_path / "theirs")
    theirs.add(cell, found)
    assert len(mine.take(theirs).taken) == 1
    assert mine.take(theirs).same == [cell.key] and len(mine) == 1
    assert mine.rows()[0]["origin"] == theirs.identity
    other = Store(tmp_path / "other")
    other.add(cell, type(found)(**{**vars(found), "metrics": {**found.metrics, "pro": 0.5}}))
    told = mine.take(other)
    assert "1 differ" in repr(told) and mine.rows()[0]["pro"] == found.metrics["pro"]
    (line,) = told.differences().to_dict("records")
    assert (line["metric"], line["theirs"], line["same data"]) == ("PRO", 0.5, True)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_store_is_exported_as_a_table(tmp_path, measured, ending):
    pd = pytest.importorskip("pandas")
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    cell, found = measured
    kept = Store(tmp_path)
    kept.add(cell, found)
    path = kept.export(tmp_path / f"table.{ending}")
    table = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    assert table.loc[0, "pro"] == found.metrics["pro"] and table.loc[0, "code"] == found.provenance["code"]
    with pytest.raises(ValueError, match=r"\.csv or \.parquet"):
        kept.export(tmp_path / "table.xlsx")
