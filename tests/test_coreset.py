from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from pclib import coreset
from pclib.coreset import greedy, random_projection


def plain_loop(points: np.ndarray, size: int, start: int | None, starts: np.ndarray | None = None) -> list[int]:
    """Farthest-first, one full pass per pick, in float64; with the official cap if `starts` are given."""
    distances = cdist(points.astype(float), points.astype(float))
    if start is None:
        reach, picked = distances[:, starts].mean(1), []
    else:
        reach, picked = distances[start], [start]
    while len(picked) < size:
        picked.append(int(reach.argmax()))
        reach = np.minimum(reach, distances[picked[-1]])
    return picked


def cloud(seed: int, n: int = 200, d: int = 6) -> np.ndarray:
    """Points in clumps of uneven size and spread."""
    rng = np.random.default_rng(seed)
    clumps = rng.normal(size=(8, d)) * 5
    return (clumps[rng.integers(0, 8, n)] + rng.normal(size=(n, d)) * rng.uniform(0.1, 2, (n, 1))).astype("f4")


@pytest.fixture
def small_blocks(monkeypatch):
    """So few candidates and so small blocks that a small set takes many rounds, as a large one does."""
    for name, value in (("CANDIDATES", 16), ("ROWS", 64), ("COLUMNS", 5)):
        monkeypatch.setattr(coreset, name, value)


seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("seed", range(20))
def test_looking_ahead_picks_what_the_plain_loop_picks(small_blocks, seed):
    points = cloud(seed)
    assert greedy(points, 60, start=7, project=None).indices.tolist() == plain_loop(points, 60, start=7)


@pytest.mark.parametrize("seed", range(20))
def test_the_official_start_picks_what_the_authors_rule_picks(small_blocks, seed):
    points = cloud(seed)
    starts = np.random.default_rng(seed).choice(len(points), size=10, replace=False)
    picked = greedy(points, 60, start="official", project=None, seed=seed).indices.tolist()
    assert picked == plain_loop(points, 60, None, starts)


@given(seeds)
def test_every_point_lies_within_the_reported_radius(seed):
    points = np.random.default_rng(seed).normal(size=(40, 3)).astype("f4")
    for start in (0, "official"):
        picked = greedy(points, 5, start=start, project=None, seed=seed)
        for i, radius in enumerate(picked.radii):
            reached = cdist(points, points[picked.indices[: i + 1]]).min(1).max()
            assert reached == pytest.approx(radius, rel=1e-5)


@settings(max_examples=20)
@given(seeds)
def test_the_radius_is_at_most_twice_the_best_possible(seed):
    points = np.random.default_rng(seed).normal(size=(12, 2)).astype("f4")
    distances = cdist(points, points)
    best = min(distances[:, list(chosen)].min(1).max() for chosen in combinations(range(12), 3))
    assert greedy(points, 3, start=0, project=None).radii[-1] <= 2 * best * (1 + 1e-5)


@given(seeds, st.integers(1, 30))
def test_a_smaller_selection_is_a_prefix_of_a_larger_one(seed, size):
    points = cloud(seed, n=50)
    small, large = (greedy(points, k, seed=seed, project=4) for k in (size, 40))
    assert np.array_equal(small.indices, large.indices[:size])
    np.testing.assert_allclose(small.radii, large.radii[:size], rtol=1e-4)


@given(seeds)
def test_radii_never_grow_and_no_vector_is_picked_twice(seed):
    points = cloud(seed, n=60)
    points[30:] = points[:30]  # every point twice
    picked = greedy(points, 60, seed=seed, project=None)
    assert sorted(picked.indices) == list(range(60))
    assert np.all(np.diff(picked.radii) <= 0) and picked.radii[-1] == 0


def test_one_dimension_by_hand():
    points = np.array([[0.0], [1.0], [10.0]], dtype="f4")
    picked = greedy(points, 3, start=0, project=None)
    assert picked.indices.tolist() == [0, 2, 1]
    np.testing.assert_allclose(picked.radii, [10, 1, 0], rtol=1e-5)


def test_the_projection_keeps_squared_distances_on_average():
    points = cloud(3, n=300, d=512)
    projected = random_projection(torch.from_numpy(points), 128, np.random.default_rng(0)).numpy()
    kept = cdist(projected, projected, "sqeuclidean").sum() / cdist(points, points, "sqeuclidean").sum()
    assert kept == pytest.approx(1, abs=0.1)


def test_features_of_the_projections_width_are_left_alone():
    points = cloud(4, d=128)
    assert np.array_equal(greedy(points, 20).indices, greedy(points, 20, project=None).indices)


def test_selection_follows_its_seed_and_no_global_generator():
    points = cloud(5, d=40)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    first = greedy(points, 30, project=8, seed=1).indices
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert np.array_equal(greedy(points, 30, project=8, seed=1).indices, first)
    assert not np.array_equal(greedy(points, 30, project=8, seed=2).indices, first)


@pytest.mark.parametrize("kind", [np.float64, np.float16])
def test_other_float_types_and_strided_arrays_work(kind):
    points = cloud(6).astype(kind)[::2]
    assert greedy(points, 10, start=0, project=None).indices.tolist() == plain_loop(points, 10, 0)


def test_bad_input_is_refused():
    points = cloud(0, n=20)
    with pytest.raises(ValueError, match="size must be at most the number of features, got 21 for 20"):
        greedy(points, 21)
    with pytest.raises(ValueError, match="size must be a whole number of at least 1, got 0"):
        greedy(points, 0)
    with pytest.raises(ValueError, match=r"start must be 'official' or an index in \[0, 20\), got 20"):
        greedy(points, 5, start=20)
    with pytest.raises(ValueError, match="start must be"):
        greedy(points, 5, start="random")
    with pytest.raises(ValueError, match=r"start must be .* got 1\.7"):
        greedy(points, 5, start=1.7)
    with pytest.raises(ValueError, match=r"20 of 20 rows .* overflow"):
        greedy(points * 1e25, 5)
    with pytest.raises(ValueError, match=r"features must be \(n, d\), got shape \(5, 2, 2, 6\)"):
        greedy(points.reshape(5, 2, 2, 6), 5)
    points[13, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 20 rows hold NaN or infinity, or overflow when squared, first row 13"):
        greedy(points, 5)


def test_a_selection_prints_in_a_line():
    assert repr(greedy(np.eye(3, dtype="f4"), 1, start=0, project=None)) == "Selection(1 vectors, covering radius 1.41)"
