from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from pclib import neighbors
from pclib.neighbors import MemoryBank, search
from pclib.scoring import AnomalyMaps, anomaly_map, eq7_factor, image_scores, nearest, patch_scores, threshold

rng = np.random.default_rng(0)
seeds = st.integers(0, 2**32 - 1)


def bank_of(vectors: np.ndarray) -> MemoryBank:
    n = len(vectors)
    return MemoryBank(vectors.astype("f4"), np.arange(n), np.zeros((n, 2), dtype=int))


@pytest.mark.golden
def test_scores_and_maps_agree_with_the_recorded_official_code(golden):
    for name, case in json.loads((golden / "patchcore/cases.json").read_text()).items():
        with np.load(golden / f"patchcore/{name}.npz") as recorded:
            embedding, bank = recorded["embedding"], recorded["bank"]
            for k in (1, 3):
                found = patch_scores(embedding, bank, k)
                maps = anomaly_map(found, tuple(case["map_size"]), case["sigma"])
                expected = recorded[f"patch_k{k}"]
                assert np.abs(found - expected).max() <= 1e-4 * expected.max(), name
                # The record holds |a|^2 + |b|^2 - 2ab in float32: near zero, its own last digits are those of |a|^2.
                assert np.all(np.abs(found - expected) <= 2e-6 * np.square(embedding).sum(-1) + 1e-5 * expected), name
                np.testing.assert_allclose(image_scores(found), recorded[f"image_k{k}"], rtol=1e-4)
                np.testing.assert_allclose(maps, recorded[f"map_k{k}"], rtol=1e-4)


@given(seeds, st.integers(1, 5))
def test_patch_scores_are_mean_squared_distances_to_the_nearest(seed, k):
    rng = np.random.default_rng(seed)
    embedding, vectors = rng.normal(size=(2, 3, 4, 5)).astype("f4"), rng.normal(size=(9, 5)).astype("f4")
    distances, _ = NearestNeighbors(n_neighbors=k).fit(vectors).kneighbors(embedding.reshape(-1, 5))
    expected = np.square(distances).mean(1).reshape(2, 3, 4)
    np.testing.assert_allclose(patch_scores(embedding, vectors, k), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        patch_scores(torch.tensor(embedding), bank_of(vectors), k), expected, rtol=1e-4, atol=1e-6
    )


def test_a_remembered_patch_lies_at_exactly_zero():
    vectors = (rng.normal(size=(200, 64)) * 100 + 1000).astype("f4")
    squared, rows = search(vectors, vectors)
    assert np.all(squared == 0) and np.array_equal(rows[:, 0], np.arange(200))


@settings(max_examples=60)
@given(
    seed=seeds,
    k=st.integers(1, 2),
    decay=st.sampled_from([0.0, 0.5, 2.0]),  # none: the leading directions tell nothing, and most queries are redone
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    offset=st.sampled_from([0.0, 10.0]),
)
def test_a_shortlist_finds_what_the_whole_search_finds(seed, k, decay, scale, offset):
    rng = np.random.default_rng(seed)
    spread = np.arange(1, 17) ** -decay
    vectors, queries = (rng.normal(size=(n, 16)) * spread + offset for n in (300, 40))
    vectors[50:80] = vectors[20]  # repeats
    queries[:5], queries[5:9] = vectors[18:23], queries[5:9] * 20  # on the bank, and far from it
    queries[9:12, -1] += 30  # far along an axis that the shortlist does not look at
    vectors, queries = (np.float32(x * scale) for x in (vectors, queries))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("NARROW", 4), ("SHORTLIST", 8), ("LARGE", 100), ("TELLING", 0), ("BLOCK", 16)):
            patch.setattr(neighbors, name, value)
        bank = bank_of(vectors)
        assert bank._shortlist is not None
        squared, rows = bank.search(queries, k)
    expected = np.sort(cdist(queries, vectors, "sqeuclidean"), axis=1)[:, :k]
    np.testing.assert_allclose(squared, expected, rtol=1e-5, atol=1e-9 * scale**2)
    np.testing.assert_allclose(np.square(queries[:, None] - vectors[rows]).sum(2), squared, rtol=1e-5)


def test_a_shortlist_is_left_alone_where_it_would_not_pay():
    wide, random = np.zeros((5000, 512), "f4"), np.random.default_rng(0)
    assert bank_of(random.normal(size=(5000, 511)))._shortlist is None  # too narrow
    assert bank_of(random.normal(size=(4999, 512)))._shortlist is None  # too few
    assert bank_of(random.normal(size=wide.shape))._shortlist is None  # no direction tells more than others
    wide[:, :100] = random.normal(size=(5000, 100))
    bank = bank_of(wide)
    assert bank._shortlist is not None and bank._shortlist.search(wide[:9], 1)[2].all()


@given(seeds)
def test_a_larger_bank_never_raises_a_score(seed):
    rng = np.random.default_rng(seed)
    embedding, vectors = rng.normal(size=(1, 3, 3, 4)).astype("f4"), rng.normal(size=(12, 4)).astype("f4")
    assert np.all(patch_scores(embedding, vectors) <= patch_scores(embedding, vectors[:6]) + 1e-6)


def test_bad_searches_are_refused():
    with pytest.raises(ValueError, match="k = 4 neighbours asked of a bank of 3 vectors"):
        patch_scores(np.zeros((1, 2, 2, 5), "f4"), np.zeros((3, 5), "f4"), k=4)
    with pytest.raises(ValueError, match=r"queries must be \(q, 5\) for this bank, got shape \(4, 6\)"):
        patch_scores(np.zeros((1, 2, 2, 6), "f4"), np.zeros((3, 5), "f4"))
    with pytest.raises(ValueError, match="k must be a whole number of at least 1, got 0"):
        nearest(np.zeros((1, 2, 2, 5), "f4"), np.zeros((3, 5), "f4"), k=0)
    with pytest.raises(ValueError, match="queries must be finite, but row 0 holds NaN"):
        nearest(np.full((1, 2, 2, 5), np.nan, "f4"), np.zeros((3, 5), "f4"))
    with pytest.raises(ValueError, match="vectors must be finite, but row 2 holds NaN"):
        search(np.zeros((1, 1), "f4"), np.array([[0], [0], [np.inf]]))


@given(
    seed=seeds,
    grid=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    size=st.tuples(st.integers(8, 60), st.integers(8, 60)),
    sigma=st.sampled_from([0.0, 1.0, 4.0]),
)
def test_the_map_is_bilinear_enlargement_and_then_a_blur(seed, grid, size, sigma):
    scores = np.random.default_rng(seed).random((2, *grid), dtype=np.float32)
    enlarged = F.interpolate(torch.tensor(scores)[None], size=size, mode="bilinear", align_corners=False)[0].numpy()
    expected = gaussian_filter(enlarged, (0, sigma, sigma)) if sigma else enlarged
    np.testing.assert_allclose(anomaly_map(scores, size, sigma), expected, rtol=1e-4, atol=1e-6)


def test_a_constant_grid_gives_a_constant_map():
    np.testing.assert_allclose(anomaly_map(np.full((1, 7, 7), 3.0), 50), 3, rtol=1e-5)
    with pytest.raises(ValueError, match=r"patch_scores must be \(n, h, w\), got shape \(7, 7\)"):
        anomaly_map(np.zeros((7, 7)), 50)


def test_equation_7_by_hand():
    bank = bank_of(np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0]]))
    # The patch (0, 2) is nearest to (0, 0), whose two nearest in the bank are itself and (1, 0).
    expected = 1 - math.exp(2) / (math.exp(2) + math.exp(math.sqrt(5)))
    found = eq7_factor(np.array([[0.0, 2.0]], "f4"), np.array([0]), bank, b=2)
    assert found == pytest.approx(expected)


@given(seeds, st.integers(2, 9))
def test_equation_7_lowers_scores_and_survives_any_distance(seed, b):
    rng = np.random.default_rng(seed)
    bank = bank_of(rng.normal(size=(20, 4)) * 1000)
    worst = rng.normal(size=(3, 4)).astype("f4") * 1000
    factor = eq7_factor(worst, bank.search(worst)[1][:, 0], bank, b)
    assert np.all((factor >= 0) & (factor < 1) | np.isclose(factor, 1))


def test_equation_7_in_a_dense_bank_is_one_minus_one_over_b():
    bank = bank_of(rng.normal(size=(9, 4)) * 1e-3)
    assert eq7_factor(np.full((1, 4), 50, "f4"), np.array([0]), bank) == pytest.approx(1 - 1 / 9, abs=1e-2)


@given(seeds, st.sampled_from([0.05, 0.1, 0.25]))
def test_the_threshold_is_the_conformal_quantile(seed, rate):
    scores = np.random.default_rng(seed).random(40)
    limit = threshold(scores, rate)
    assert (scores <= limit).sum() == math.ceil(41 * (1 - rate))


def test_the_threshold_keeps_its_promise():
    rng = np.random.default_rng(1)
    alarms = [(rng.exponential(size=200) > threshold(rng.exponential(size=20), 0.05)).mean() for _ in range(400)]
    assert 0.035 < np.mean(alarms) < 0.06  # 1 / 21 expected


def test_bad_thresholds_are_refused():
    with pytest.raises(ValueError, match=r"18 good images are too few to promise 5 % false alarms; .* at least 19"):
        threshold(np.arange(18), 0.05)
    assert threshold(np.arange(19), 0.05) == 18
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\), got 5"):
        threshold(np.arange(19), 5)
    with pytest.raises(ValueError, match="finite"):
        threshold(np.array([np.nan] * 19), 0.05)


def test_lazy_maps_are_read_like_the_array_they_stand_for():
    patch_scores = np.random.default_rng(0).random((5, 7, 6), dtype="f4")
    maps, whole = AnomalyMaps(patch_scores, (28, 24), 2.0), anomaly_map(patch_scores, (28, 24), 2.0)
    mask = whole > whole.mean()
    mask[2] = False
    assert (maps.shape, maps.dtype, maps.ndim, len(maps)) == (whole.shape, whole.dtype, 3, 5)
    assert repr(maps) == "AnomalyMaps(5, 28, 24)"
    for key in (0, -1, np.int64(3), slice(1, 4), [0, 2], np.array([4, 1]), (2, 5), (slice(None), 3), (0, 1, 2), mask):
        assert np.array_equal(maps[key], whole[key]), key
    assert np.array_equal(np.stack(list(maps)), whole) and np.array_equal(np.asarray(maps), whole)
    assert np.asarray(maps, dtype=np.float64).dtype == np.float64
    assert AnomalyMaps(patch_scores, 28).shape == (5, 28, 28)
    with pytest.raises(IndexError):
        maps[5]
