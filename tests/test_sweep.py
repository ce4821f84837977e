"""Plans and sweeps: what runs, what is kept, and what happens when something dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from pclib import _workers, cells, forecast, inventory, store, sweep
from pclib.cells import Cell, Measured
from pclib.configurations import EMBEDDED, Configuration
from pclib.store import Store

from .conftest import ROOT

DUMMY = Configuration("dummy", (), "tests.test_sweep:Dummy", {"seconds": 0.0, "dies": "", "n": 0, "lacks": False})


class Dummy:
    """A bench that sleeps, or kills its process once, or fails as often as it is told to."""

    def __init__(self, cells):
        self.cells = cells

    def measure(self, cell):
        told = cell.configuration.parameters
        if told["dies"] == "always":
            os.kill(os.getpid(), signal.SIGKILL)
        if told["dies"] and not os.path.exists(told["dies"]):
            open(told["dies"], "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(told["seconds"])
        if told["lacks"] and os.environ.get("LACKS"):
            raise FileNotFoundError("no pictures on this worker")
        if told["n"] < 0:
            raise RuntimeError("cosmic ray")
        names = [m + end for m in cells.METRICS.values() for end in ("", "_low", "_high")]
        counts = dict.fromkeys(("n_train", "n_good", "n_anomalous", "n_regions"), 1)
        return Measured(
            dict.fromkeys(names, told["n"] / 1000), counts, {}, {"all": told["seconds"]}, 1, {"host": str(os.getpid())}
        )


def dummies(count, **parameters):
    rows = [DUMMY.changed(f"dummy {n}", n=n, **parameters) for n in range(count)]
    return sweep.Plan(Cell(row, "toybox", "washer", 0) for row in rows)


def kept(folder):
    """What a store holds, but for times."""
    passing = ("timing", "memory", "measured_at", "provenance")
    return [{k: v for k, v in row.items() if k not in passing} for row in Store(folder).rows()]


def test_a_plan_has_a_cell_for_each_row_category_and_seed(monkeypatch):
    everything = sweep.plan(data="mvtec", seeds=5)
    assert (len(everything), len(everything.groups())) == ((5 + 5) * 15 * 5, (3 + 5) * 15)
    assert "75 cells" in sweep.plan("S1", "PatchCore-1", data="mvtec", seeds=5)._repr_html_()
    assert len(sweep.plan("S4")) == 2 * 3, "three embedded categories in the demo profile"
    assert [c.configuration.name for c in sweep.plan("S1", "PatchCore-1", "gravel", seeds=2)] == ["PatchCore-1"] * 2
    assert all(c.configuration.parameters["backbone"] == "tf_efficientnet_lite0" for c in sweep.plan())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tables": "S5"}, "no table 'S5'"),
        ({"methods": "PatchCore-5"}, "no configuration 'PatchCore-5'"),
        ({"methods": "layers 2, 3", "tables": "S1"}, "no configuration 'layers 2, 3'"),
        ({"categories": "washr"}, "no category 'washr'; it has washer"),
        ({"data": "mvtek"}, "no data set or folder '.*mvtek': give mvtec"),
        ({"seeds": 0}, "seeds must be a whole number of at least 1"),
    ],
)
def test_what_is_not_known_is_refused_with_near_names(asked, said):
    with pytest.raises(ValueError, match=said):
        sweep.plan(**asked)


def test_a_rerun_does_only_what_is_missing(tmp_path):
    plan = dummies(5)
    assert sweep.run(plan[:2], Store(tmp_path)).measured == 2
    seen = []
    report = sweep.run(plan, Store(tmp_path), each=lambda cell: seen.append(cell.configuration.name))
    assert (report.measured, report.already) == (3, 2) and seen == ["dummy 2", "dummy 3", "dummy 4"]
    assert sweep.run(plan, Store(tmp_path), again=True).measured == 5
    assert len(Store(tmp_path)) == 10 and set(Store(tmp_path).runs().values()) == {2}


def test_another_run_of_all_goes_on_where_it_was_stopped(tmp_path):
    plan, store = dummies(4), Store(tmp_path)
    sweep.run(plan[:3], store)

    def stop(cell):
        if cell.configuration.name == "dummy 1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.run(plan, store, again=True, each=stop)
    assert sorted(Store(tmp_path).runs().values()) == [1, 2, 2]
    assert sweep.run(plan, store, again=True).measured == 2
    assert sorted(Store(tmp_path).runs().values()) == [1, 2, 2, 2]


def test_a_bench_serves_one_sweep_and_no_longer_than_its_group(monkeypatch):
    opened = []
    monkeypatch.setattr("pclib.measuring.open_bench", lambda cells: opened.append(len(cells)) or Dummy(cells))
    monkeypatch.setitem(cells.APART, DUMMY.method, ("n",))
    two, holder = list(dummies(2)), _workers.Holder()
    for sweep_name in ("first", "second"):
        holder.measure(two[0], two, sweep_name)
    holder.measure(two[1], two[1:], "second")
    assert opened == [2, 2] and holder.bench is None


def test_a_folder_is_known_by_its_whole_path(tmp_path, monkeypatch):
    for place in ("here", "there"):
        (tmp_path / place / "pictures" / "nuts").mkdir(parents=True)
    keys = set()
    for place in ("here", "there"):
        monkeypatch.chdir(tmp_path / place)
        keys |= {cell.key for data in ("pictures", "pictures/") for cell in sweep.plan("S1", "PatchCore-1", data=data)}
    assert len(keys) == 2
    monkeypatch.setenv("PCLIB_DATA", str(tmp_path / "here" / "pictures"))
    assert {cell.data for cell in sweep.plan("S1", categories="bottle", data=tmp_path / "here" / "pictures")} == {
        "mvtec"
    }
    for name in inventory.DATA_SETS["mvtec"].categories:
        (tmp_path / "there" / "pictures" / name).mkdir()
    with pytest.warns(UserWarning, match="holds the categories of MVTec AD.*PCLIB_DATA"):
        sweep.plan("S1", data=tmp_path / "there" / "pictures")
    monkeypatch.chdir(tmp_path / "here" / "pictures" / "nuts")
    with pytest.raises(ValueError, match="holds no category folders"):
        sweep.plan("S1", data=".")


def test_a_cell_that_fails_is_told_with_its_reason_and_the_others_go_on(tmp_path):
    bad = Cell(DUMMY.changed("bad", n=-1), "toybox", "washer", 0)
    report = sweep.run(sweep.Plan([bad, *dummies(2)]), Store(tmp_path))
    assert report.measured == 2 and "cosmic ray (tried 3 times)" in repr(report)
    assert "cosmic ray" in Store(tmp_path).failures()[bad.key]


def test_data_that_are_not_here_fail_every_cell_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PCLIB_DATA", str(tmp_path / "nothing"))
    report = sweep.run(sweep.plan("S1", categories="bottle", data="mvtec"), Store(tmp_path / "s"))
    assert report.measured == 0 and all("pclib data fetch mvtec" in why for why in report.failed.values())


def test_two_sweeps_on_one_store_are_one_too_many(tmp_path):
    with Store(tmp_path).writing(), pytest.raises(ValueError, match="another sweep"):
        sweep.run(dummies(1), Store(tmp_path))


@pytest.mark.slow
def test_killed_at_ten_moments_the_store_ends_as_if_nothing_had_happened(tmp_path):
    """24 real cells of small embedded pictures; SIGKILL, ten times, at times drawn beforehand."""
    script = (
        "from pclib import cells, configurations, sweep; from pclib.store import Store; import sys\n"
        "cells.PICTURES.update(train=6, good=3, defective=4, size=64)\n"
        "rows = [c for n, c in configurations.EMBEDDED.items() if n.startswith('PatchCore')]\n"
        "small = [c.changed(c.name, resize=64, crop=64) for c in rows]\n"
        "plan = sweep.plan('S1', small, ['washer', 'gravel', 'weave', 'board'], seeds=2)\n"
        "assert len(plan) == 24\n"
        "print('ready', flush=True)\n"
        "r = sweep.run(plan, Store(sys.argv[1])); print(r.measured, r.already, flush=True); assert not r.failed\n"
    )

    def start(folder):
        return subprocess.Popen(
            [sys.executable, "-c", script, folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    whole = start(tmp_path / "whole")
    began = time.perf_counter()
    assert whole.communicate()[0].split() == ["ready", "24", "0"]
    took = time.perf_counter() - began
    before = 0
    for part in (0.31, 0.62, 0.15, 0.48, 0.9, 0.2, 0.4, 0.75, 0.55, 0.35):
        process = start(tmp_path / "killed")
        process.stdout.readline()
        time.sleep(part * took * 0.3)
        process.kill()
        process.wait()
        now = len(Store(tmp_path / "killed"))
        assert now >= before, "what was kept stays"
        before = now
    output = start(tmp_path / "killed").communicate()[0].split()
    assert int(output[1]) + int(output[2]) == 24 and int(output[2]) == before
    assert kept(tmp_path / "killed") == kept(tmp_path / "whole")


@pytest.fixture
def cluster(monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as two:
        yield two


@pytest.mark.slow
def test_on_a_cluster_with_a_worker_killed_in_mid_cell_all_cells_are_there_once(tmp_path, cluster):
    plan = dummies(8, seconds=0.05, dies=str(tmp_path / "died"))
    report = sweep.run(plan, Store(tmp_path / "s"), cluster)
    assert (tmp_path / "died").exists() and report.measured == 8 and not report.failed
    sweep.run(dummies(8, seconds=0.05, dies=str(tmp_path / "died")), Store(tmp_path / "here"))
    assert kept(tmp_path / "s") == kept(tmp_path / "here") and len(kept(tmp_path / "s")) == 8


@pytest.mark.slow
def test_a_group_stays_on_one_worker_and_a_cell_that_kills_workers_is_given_up(tmp_path, cluster, monkeypatch):
    monkeypatch.setitem(cells.APART, DUMMY.method, ("n",))
    two = [*dummies(3, seconds=0.2), *dummies(3, seconds=0.201)]
    deadly = Cell(DUMMY.changed("deadly", dies="always"), "toybox", "gravel", 0)
    report = sweep.run(sweep.Plan([*two, deadly]), Store(tmp_path), cluster)
    assert report.measured == 6 and "its worker died or left 3 times" in report.failed[str(deadly)]
    done = Store(tmp_path).frame()
    assert done.groupby(done.parameters.str.contains("0.201")).host.nunique().tolist() == [1, 1]


@pytest.mark.slow
def test_a_group_that_no_worker_has_the_memory_for_is_refused_with_both_sizes(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(_workers, "PATIENCE", 1)
    monkeypatch.setattr(
        _workers, "memory", lambda cells: 2**50 if cells[0].configuration.parameters["n"] == 1 else None
    )
    report = sweep.run(dummies(3), Store(tmp_path), cluster)
    (why,) = report.failed.values()
    assert report.measured == 2 and "takes about 1048577.0 GiB; no worker may use more than" in why


@pytest.mark.slow
def test_cells_that_were_called_off_elsewhere_are_given_out_again(tmp_path, cluster):
    from distributed import Client

    with Client(cluster) as client:
        report = sweep.run(dummies(6, seconds=0.3), Store(tmp_path), client, each=lambda cell: cancel_all(client))
    assert report.measured == 6 and len(Store(tmp_path)) == 6


def cancel_all(client):
    from distributed import Future

    client.cancel([Future(key, client) for key in list(client.futures)])


@pytest.mark.slow
def test_a_worker_without_the_data_leaves_its_cells_to_one_that_has_them(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    workers = {
        "lacks": {"cls": distributed.Nanny, "options": {"nthreads": 1, "env": {"LACKS": "1"}}},
        "has": {"cls": distributed.Nanny, "options": {"nthreads": 1}},
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard": False, "port": 0}}
    with distributed.SpecCluster(workers, scheduler) as two:
        report = sweep.run(dummies(6, lacks=True, seconds=0.1), Store(tmp_path), two)
    assert report.measured == 6 and not report.failed


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_named_and_what_was_measured_is_kept(tmp_path, cluster):
    with pytest.raises(ConnectionError, match="what was measured is kept"):
        sweep.run(dummies(8, seconds=0.2), Store(tmp_path), cluster, each=lambda cell: cluster.close())
    assert 1 <= len(Store(tmp_path)) < 8
    assert sweep.run(dummies(8), Store(tmp_path)).failed == {}


def test_a_scheduler_that_does_not_answer_is_named_within_seconds(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(_workers, "REACH", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        began = time.perf_counter()
        with pytest.raises(ConnectionError, match="no Dask scheduler answers"):
            sweep.run(dummies(1), Store(tmp_path), address)
        assert time.perf_counter() - began < 10
    for address in ("nohost", "https://host:1"):
        with pytest.raises(ConnectionError, match=r"no scheduler's address; give one such as tcp://host:8786"):
            sweep.run(dummies(1), Store(tmp_path), address)


def test_store_is_imported_for_its_default_place(monkeypatch, tmp_path):
    monkeypatch.setenv("PCLIB_STORE", str(tmp_path / "here"))
    assert sweep.run(dummies(1)).measured == 1
    assert (tmp_path / "here" / store.FILE).is_file()


COSTS = {
    **{"patches": 100.0, "random": False, "start": 1.0, "embedding": 0.01, "greedy": 1e-4, "greedy_pair": 1e-7},
    **{"small_query": 1e-5, "small_pair": 1e-8, "small_build": 1e-4, "metrics": 0.02, "intervals": 1e-5, "base": 1e8},
    **{"large_query": 0.0, "large_pair": 0.0, "large_build": 0.0},
}


def test_an_estimate_is_made_of_stages_measured_once_for_each_kind_of_machine(tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(forecast, "_measure_stages", lambda *_: measured.append("stages") or dict(COSTS))
    reading = {"each": 0.1, "defective": 0.01, "assumed": False}
    monkeypatch.setattr(forecast, "_measure_reading", lambda *_: measured.append("reading") or dict(reading))
    plan, store = sweep.plan("S1", ["PatchCore-25", "PatchCore-1"], "washer", seeds=2), Store(tmp_path)
    found = plan.estimate(store)
    # 40 + 40 pictures of 100 patches: start, pictures, two greedy runs, four scorings with banks of 1,000 and 40
    pictures, selections = 80 * (0.1 + 0.01), 2 * (4000 * 1e-4 + 4000**2 * 1e-7)
    scorings = 2 * sum(4000 * (1e-5 + 1e-8 * kept) + 1e-4 * kept for kept in (1000, 40))
    metrics = 4 * (40 * 0.02 + 40 * 0.01 * 112**2 * 1e-5)
    assert found.seconds == pytest.approx([1 + pictures + selections + scorings + metrics])
    assert (found.cells, found.unknown, measured) == (4, 0, ["stages", "reading"])
    assert found.memory > 1e8 + 80 * 100 * 4096 and "1024 x 1024" not in repr(found)
    assert plan.estimate(store) == found and len(measured) == 2, "kept in the store"
    assert sweep.Plan([*plan, *dummies(3)]).estimate(store).unknown == 3
    reading["assumed"] = True
    assumed = sweep.plan("S1", "PatchCore-10", "weave")
    assert "1024 x 1024" in repr(assumed.estimate(store)) and "1024 x 1024" in repr(assumed.estimate(store))
    assert measured[2:].count("reading") == 2, "what was assumed is not kept"


def test_another_methods_estimate_counts_pictures_copies_and_fits(tmp_path, monkeypatch):
    costs = {"start": 1.0, "fit": 2.0, "fit_each": 0.1, "score_each": 0.2, "metrics": 0.0, "intervals": 0.0}
    asked = []
    monkeypatch.setattr(
        forecast, "_measure_method", lambda row: asked.append(row) or {**costs, "seeded": True, "base": 1e8}
    )
    monkeypatch.setattr(forecast, "_measure_reading", lambda *_: {"each": 0.01, "defective": 0.01, "assumed": False})
    found = sweep.plan("S1", "MahalanobisAD", "washer", seeds=2).estimate(Store(tmp_path))
    # each picture as it is, and half of ten copies: 6 passes, where one copy takes 1.5
    assert found.seconds == pytest.approx([1 + 80 * 0.01 + 2 * (2 + 40 * 4 * 0.1 + 40 * 0.2)])
    assert (found.cells, found.unknown, len(asked)) == (2, 0, 1)
    assert found.memory > 1e8 + 8 * 40 * 10 * 2000, "features of all copies, about 2,000 wide"


def test_embedded_pictures_are_counted_once_for_all_methods_and_those_of_folders_for_each(tmp_path, monkeypatch):
    costs = {"start": 1.0, "fit": 0.0, "fit_each": 0.0, "score_each": 0.0, "metrics": 0.0, "intervals": 0.0}
    monkeypatch.setattr(forecast, "_measure_method", lambda row: {**costs, "seeded": False, "base": 1e8})
    monkeypatch.setattr(forecast, "_measure_reading", lambda *_: {"each": 0.01, "defective": 0.01, "assumed": False})
    both = ["SPADE", "OCSVM"]
    found = sweep.plan("S1", both, ["washer", "weave"], data="toybox").estimate(Store(tmp_path))
    assert sorted(found.seconds) == pytest.approx([1, 1, 1.8, 1.8])
    pictures = sum(forecast._pictures(sweep.plan("S1", "OCSVM", "bottle", data="mvtec")[0]))
    found = sweep.plan("S1", both, "bottle", data="mvtec").estimate(Store(tmp_path))
    assert found.seconds == pytest.approx([1 + pictures * 0.01] * 2)


def test_the_memory_of_a_group_follows_from_its_grid():
    plain, shallow = (
        sweep.plan("S4", name, "hazelnut", data="mvtec").groups()[0] for name in ("layers 2, 3", "layers 1, 2, 3")
    )
    counts = inventory.DATA_SETS["mvtec"].categories["hazelnut"]
    pictures = counts.train + counts.good + sum(counts.defects.values())
    assert forecast.memory(plain) > pictures * 35**2 * 4096 and forecast.memory(shallow) > pictures * 70**2 * 4096
    assert forecast.memory(dummies(1).groups()[0]) is None


def test_the_longest_groups_go_first_to_whoever_is_free():
    found = forecast.Estimate(5, (3.0, 3.0, 2.0, 2.0, 2.0), 0, 0, 0, "")
    assert (found.on(1), found.on(2), found.on(9)) == (12, 7, 3)


@pytest.mark.parametrize(("seconds", "said"), [(4.2, "4.2 s"), (99, "99 s"), (210, "3.5 min"), (12345, "3.43 h")])
def test_durations_are_said_as_people_say_them(seconds, said):
    assert forecast.duration(seconds) == said


@pytest.mark.slow
def test_every_stage_of_a_real_group_is_measured(tmp_path):
    store = Store(tmp_path)
    found = sweep.plan("S1", [f"PatchCore-{share}" for share in (25, 10, 1)], "washer").estimate(store)
    assert found.on(1) > 0.5 and 2**28 < found.memory < 2**33
    stages = next(cost for what, cost in store.costs(found.host).items() if what.startswith("stages"))
    assert set(stages) == set(COSTS) and stages["patches"] == 14 * 14
    assert all(stages[name] > 0 for name in ("start", "embedding", "greedy", "metrics", "intervals", "base"))


@pytest.mark.slow
def test_every_stage_of_another_method_is_measured():
    found = {name: forecast._measure_method(EMBEDDED[name]) for name in ("PaDiM", "OCSVM")}
    assert all(cost["fit_each"] > 0 and cost["score_each"] > 0 and cost["base"] > 2**27 for cost in found.values())
    assert found["PaDiM"]["seeded"] and not found["OCSVM"]["seeded"]
