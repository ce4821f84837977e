"""The references that pclib is timed beside compute the same, and docs/speed.md says what was measured."""

from __future__ import annotations

import json
import time

import literal
import numpy as np
import pytest
import report
import side_by_side
import torch

from pclib.coreset import OFFICIAL_STARTS, greedy
from pclib.scoring import anomaly_map


def quiet(items, **_):
    return items


@pytest.fixture(scope="module")
def cloud() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(600, 8)).astype("f4")


@pytest.mark.parametrize("loop", [literal.plain_loop, literal.frugal_loop])
def test_the_plain_loops_pick_what_greedy_picks(cloud, loop):
    assert (
        loop(torch.from_numpy(cloud), 60) == greedy(cloud, 60, start=0, project=None, progress=quiet).indices.tolist()
    )


def test_the_authors_loop_picks_what_the_official_start_picks(cloud):
    starts = np.random.default_rng(3).choice(len(cloud), size=OFFICIAL_STARTS, replace=False)
    expected = greedy(cloud, 60, project=None, seed=3, progress=quiet).indices.tolist()
    assert literal.authors_loop(torch.from_numpy(cloud), 60, starts.tolist()) == expected


def test_literal_maps_are_pclibs_maps(cloud):
    grids = cloud[:16].reshape(2, 8, 8)
    np.testing.assert_allclose(literal.anomaly_map(grids, 50), anomaly_map(grids, 50), atol=1e-5)


def test_time_and_memory_are_those_of_the_call(monkeypatch):
    ticks = iter([1.0, 3.0])
    monkeypatch.setattr(side_by_side.time, "perf_counter", lambda: next(ticks))
    found = side_by_side.timed(lambda: [np.ones(2**24), time.sleep(0.1)][0], calls=1, scale=10)
    assert found["seconds"] == 20 and found["result"].size == 2**24
    assert 100 < found["MiB"] < 400  # the array has 128


def test_the_page_says_what_the_results_say():
    results = json.loads(side_by_side.RESULTS.read_text())
    assert report.PAGE.read_text() == report.page(results)
