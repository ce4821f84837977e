from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from pclib import _farthest, coreset
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
        monkeypatch.setattr(_farthest, name, value)


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
    with pytest.warns(UserWarning, match="only 30 of the 60"):
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


@st.composite
def degenerate(draw):
    """Few or many points: in general position, repeated, on a line, on a lattice full of ties, far from the origin."""
    rng = np.random.default_rng(draw(seeds))
    n, d = draw(st.integers(2, 120)), draw(st.integers(1, 6))
    kind = draw(st.sampled_from(["general", "repeated", "line", "lattice", "far"]))
    points = rng.normal(size=(n, d))
    if kind == "repeated":
        points = points[rng.integers(0, draw(st.integers(1, n)), n)]
    elif kind == "line":
        points = rng.normal(size=(n, 1)) * rng.normal(size=(1, d))
    elif kind == "lattice":
        points = rng.integers(0, 3, (n, d)).astype(float)
    elif kind == "far":
        points += 1000
    return points.astype("f4"), draw(st.integers(1, n)), kind


@pytest.mark.filterwarnings("ignore:only .* differ")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(degenerate(), st.integers(0, 119))
def test_every_pick_is_one_the_plain_loop_could_have_made(small_blocks, drawn, start):
    """Where ties leave a choice, any of the farthest vectors will do: the loop is followed pick by pick."""
    points, size, kind = drawn
    selection = greedy(points, size, start=start % len(points), project=None)
    assert len(set(selection.indices.tolist())) == size
    distances = cdist(points.astype(float), points.astype(float))
    rounding = (3e-3 if kind == "far" else 1e-5) * (1 + distances.max())
    nearest = distances[selection.indices[0]]
    for pick, radius in zip(selection.indices[1:], selection.radii, strict=False):
        assert nearest[pick] >= nearest.max() - rounding
        assert radius == pytest.approx(nearest.max(), abs=rounding)
        assert radius == 0 or nearest.max() > 0
        nearest = np.minimum(nearest, distances[pick])
    assert selection.radii[-1] == pytest.approx(nearest.max(), abs=rounding)
    assert (selection.radii[-1] == 0) == (nearest.max() == 0)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seeds, st.integers(1, 59), st.sampled_from(["official", 3]))
def test_a_resumed_run_ends_like_an_uninterrupted_one(small_blocks, seed, done, start):
    points = cloud(seed % 1000)
    whole = greedy(points, 60, start=start, seed=seed, project=4)
    resumed = greedy(points, 60, start=start, seed=seed, project=4, resume=whole.first(done))
    np.testing.assert_allclose(resumed.radii, whole.radii, rtol=1e-4)
    if len(different := np.flatnonzero(resumed.indices != whole.indices)):  # then two were farthest, to rounding
        projected = random_projection(points, 4, np.random.default_rng(seed)).double().numpy()
        k = different[0]
        nearest = cdist(projected, projected[whole.indices[:k]]).min(1)
        assert nearest[resumed.indices[k]] == pytest.approx(nearest[whole.indices[k]], rel=1e-5)


def test_stopping_keeps_the_picks_made_so_far(small_blocks):
    points = cloud(8)

    def stopped_after_25(picks, **_):
        for count, pick in enumerate(picks):
            if count == 25:
                raise KeyboardInterrupt
            yield pick

    with pytest.raises(KeyboardInterrupt, match=r"stopped after \d+ picks; .*resume=stopped.selection") as stopped:
        greedy(points, 60, progress=stopped_after_25)
    made = stopped.value.selection
    assert 20 < len(made) < 60
    whole = greedy(points, 60)
    assert np.array_equal(made.indices, whole.indices[: len(made)])
    assert np.array_equal(greedy(points, 60, resume=made).indices, whole.indices)


def test_stopping_before_the_first_pick_is_a_plain_interruption():
    def stopped(picks, **_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        greedy(cloud(8), 60, progress=stopped)
    assert not isinstance(caught.value, coreset.Interrupted)


def test_only_a_selection_from_the_same_run_can_be_resumed():
    points = cloud(9)
    made = greedy(points, 20)
    other = (made.indices[0] + 1) % len(points)
    for wrong in (coreset.at_random(points, 5), coreset.Selection(made.indices + 1, made.radii), greedy(points, 40)):
        with pytest.raises(ValueError, match="cannot resume from"):
            greedy(points, 30, resume=wrong)
    with pytest.raises(ValueError, match=f"would begin with vector {other}"):
        greedy(points, 30, start=other, resume=made)


def test_too_few_different_vectors_are_filled_up_and_said():
    points = np.repeat(cloud(10, n=30), 4, axis=0) * 50  # far apart, so that rounding would show
    with pytest.warns(UserWarning, match="only 30 of the 70 vectors asked for differ; 40 repeat others"):
        picked = greedy(points, 70, start=5, project=None)
    assert len(set(picked.indices.tolist())) == 70
    assert len(np.unique(points[picked.indices[:30]], axis=0)) == 30
    assert picked.radii[28] > 0 and np.all(picked.radii[29:] == 0)
    with pytest.warns(UserWarning, match="only 1 of the 3 vectors"):
        assert greedy(np.ones((5, 2), dtype="f4"), 3).radii.tolist() == [0, 0, 0]


def test_features_may_lie_in_a_file(tmp_path):
    points = cloud(11, d=40)
    np.save(tmp_path / "features.npy", points)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    for project in (8, None):
        in_file, in_memory = (greedy(x, 30, project=project).indices for x in (mapped, points))
        assert np.array_equal(in_file, in_memory)


def test_half_precision_storage_strays_by_its_rounding_only():
    points = cloud(12, d=40)
    exact, rounded = (greedy(points, 30, project=16, storage=kind) for kind in ("float32", "float16"))
    np.testing.assert_allclose(rounded.radii, exact.radii, rtol=0.02)
    assert len(set(exact.indices) & set(rounded.indices)) > 20
    with pytest.raises(ValueError, match="storage must be one of 'float32', 'float16', got 'int8'"):
        greedy(points, 30, storage="int8")


def test_what_does_not_fit_is_refused_before_work_starts(monkeypatch):
    monkeypatch.setattr(coreset, "available_memory", lambda device: 10 << 20)
    with pytest.raises(MemoryError, match=r"5 of 200 vectors of width 6 takes .* GiB .* storage='float16'"):
        greedy(cloud(0), 5)


@pytest.mark.parametrize("choose", [coreset.at_random, coreset.by_kmeans, partial(coreset.greedy_on_sample, sample=60)])
def test_other_selections_are_distinct_seeded_and_cover_less(choose):
    points = cloud(13)
    chosen = choose(points, 20, seed=1)
    assert len(set(chosen.indices.tolist())) == len(chosen) == 20 and chosen.radii is None
    assert np.array_equal(choose(points, 20, seed=1).indices, chosen.indices)
    assert not np.array_equal(choose(points, 20, seed=2).indices, chosen.indices)
    radius = coreset.covering_radius(points, chosen.indices)
    assert radius == pytest.approx(cdist(points, points[chosen.indices]).min(1).max(), rel=1e-5)
    assert radius > greedy(points, 20, project=None).radii[-1]
    assert sorted(choose(points[:60], 60).indices) == list(range(60))
    with pytest.raises(ValueError, match="size must be at most the number of features, got 201 for"):
        choose(points, 201)


def test_kmeans_serves_the_mean_distance():
    points = cloud(14)
    error = [
        np.square(cdist(points, points[chosen.indices]).min(1)).mean()
        for chosen in (coreset.by_kmeans(points, 20), greedy(points, 20, project=None), coreset.at_random(points, 20))
    ]
    assert error[0] < min(error[1:])


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
    with pytest.raises(ValueError, match=r"row 0 holds .* overflows"):
        greedy(points * 1e25, 5)
    with pytest.raises(ValueError, match=r"features must be \(n, d\), got shape \(5, 2, 2, 6\)"):
        greedy(points.reshape(5, 2, 2, 6), 5)
    points[13, 2] = np.nan
    with pytest.raises(ValueError, match="row 13 holds NaN or infinity, or overflows when squared"):
        greedy(points, 5)


def test_a_selection_prints_in_a_line():
    picked = greedy(np.eye(3, dtype="f4"), 2, start=0, project=None)
    assert repr(picked.first(1)) == "Selection(1 vectors, covering radius 1.41)"
    assert repr(coreset.at_random(np.eye(3), 2)) == "Selection(2 vectors)"
    with pytest.raises(ValueError, match=r"size must lie in \[1, 2\], the picks there are, got 3"):
        picked.first(3)
