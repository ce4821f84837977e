from __future__ import annotations

import json
import re
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import label
from scipy.stats import norm
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve

from pclib.datasets import FileSample
from pclib.detector import Scores
from pclib.framing import Framing
from pclib.metrics import (
    Undefined,
    auroc,
    auroc_interval,
    auroc_interval_at,
    average_precision,
    bootstrap,
    compare_auroc,
    compare_pixels,
    count_regions,
    detection_rate,
    evaluate,
    f1_max,
    false_alarm_rate,
    find_regions,
    official_pro,
    pixel_auroc,
    pixel_intervals,
    pixel_metrics,
    pixel_roc,
    placement,
    pro,
    pro_curve,
    roc,
)
from pclib.metrics.bootstrap import draws, replicate
from pclib.metrics.placement import place
from pclib.toybox import Toybox

ALL_AND_NOTHING = np.repeat([True, False], 4).reshape(2, 2, 2)
few_scores = st.sampled_from([-2.0, -0.0, 0.0, 0.5, 0.5000001, 1.0, 40.0])  # many ties, signed zeros, a near tie


PRO_VARIANTS = {
    "pro_conn4": {"connectivity": 4},
    "pro_anomalous_fpr": {"fpr_images": "anomalous"},
    "pro_image_mean": {"average": "image"},
    "pro_image_own_fpr": {"average": "image", "fpr_images": "own"},
}


@pytest.mark.golden
def test_metrics_agree_with_exact_recorded_values_to_1e_9(golden):
    checked = 0
    for name, case in json.loads((golden / "metrics/cases.json").read_text()).items():
        with np.load(golden / "metrics" / case["file"]) as data:
            masks, maps, labels, scores = (data[k] for k in ("masks", "maps", "labels", "image_scores"))
        only = partial(pixel_auroc, images="anomalous")
        calls = [(case["image_auroc"], auroc, (labels, scores)), (case["pixel_auroc"], pixel_auroc, (masks, maps))]
        calls += [(case["variants"]["pixel_auroc_anomalous_only"], only, (masks, maps))]
        calls += [(case["pro"]["0.3"], pro, (masks, maps))]  # the default limit
        calls += [(value, pro, (masks, maps, float(limit))) for limit, value in case["pro"].items()]
        for variant, switches in PRO_VARIANTS.items():
            values = case["variants"][variant].items()
            calls += [(value, partial(pro, **switches), (masks, maps, float(limit))) for limit, value in values]
        own = case["variants"]["pro_image_own_fpr"]["0.3"]
        calls += [(own, official_pro, (masks, maps))]
        recorded = case["image_auroc_interval"]
        for field, method in (
            ("score", "score"),
            ("delong", "delong"),
            ("delong_logit", "logit"),
            ("bootstrap", "bootstrap"),
        ):
            ends = recorded[field] and recorded[field].get("lower")
            expected = None if ends is None else (ends, recorded[field]["upper"])
            calls.append((expected, partial(auroc_interval, method=method), (labels, scores)))
        for expected, metric, arguments in calls:
            checked += 1
            if expected is None:
                with pytest.raises(Undefined, match="undefined"):
                    metric(*arguments)
            else:
                assert metric(*arguments) == pytest.approx(expected, abs=1e-9), (name, metric)
        if case["pixel_auroc"] is not None:
            together = pixel_metrics(masks, maps, (0.05, 0.3, 1.0))
            assert together.pixel_auroc == pytest.approx(case["pixel_auroc"], abs=1e-9)
            assert together.pro == pytest.approx({float(k): v for k, v in case["pro"].items()}, abs=1e-9)
    assert checked == 11 * (3 + 1 + 3 + 4 * 3 + 1 + 4)


@given(st.lists(st.tuples(st.booleans(), few_scores), min_size=2, max_size=30))
def test_auroc_agrees_with_scikit_learn(pairs):
    labels, scores = (np.array(values) for values in zip(*pairs, strict=True))
    assume(0 < labels.sum() < len(labels))
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(hnp.arrays(bool, (2, 5, 6)), hnp.arrays(np.float32, (2, 5, 6), elements=few_scores.map(np.float32)))
def test_pixel_auroc_agrees_with_scikit_learn(masks, maps):
    assume(0 < masks.sum() < masks.size)
    assert pixel_auroc(masks, maps) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-12)


def pro_by_thresholds(masks: np.ndarray, maps: np.ndarray, max_fpr: float) -> float:
    """PRO straight from its definition: a loop over thresholds and regions."""
    regions = [
        (i, names == r)
        for i, (names, n) in enumerate(label(m, np.ones((3, 3))) for m in masks)
        for r in range(1, n + 1)
    ]
    points = [(0.0, 0.0)]
    for t in np.unique(maps)[::-1]:
        fpr = (maps >= t)[~masks].mean()
        points.append((fpr, np.mean([(maps[i] >= t)[region].mean() for i, region in regions])))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 < max_fpr and x1 > x0:
            end = min(x1, max_fpr)
            area += (end - x0) * (y0 + (y0 + (y1 - y0) * (end - x0) / (x1 - x0))) / 2
    return area / max_fpr


@given(
    hnp.arrays(bool, (2, 5, 6)),
    hnp.arrays(np.float32, (2, 5, 6), elements=few_scores.map(np.float32)),
    st.sampled_from([0.05, 0.3, 0.77]),
)
def test_pro_agrees_with_its_definition(masks, maps, limit):
    assume(0 < masks.sum() < masks.size)
    assert pro(masks, maps, limit) == pytest.approx(pro_by_thresholds(masks, maps, limit), abs=1e-9)


def test_pro_by_hand_weighs_a_small_region_like_a_large_one():
    masks = np.zeros((1, 1, 10), dtype=bool)
    masks[0, 0, [0, 2, 3, 4, 5]] = True  # regions of 1 and 4 pixels, 5 normal pixels
    maps = np.array([[[9, 0, 8, 8, 8, 8, 0, 0, 0, 0]]], dtype=np.float32)
    assert pro(masks, maps) == 1.0 and count_regions(masks) == 2
    maps[0, 0, 0] = -1  # the small one is missed until the end
    assert pro(masks, maps) == pytest.approx(0.5)


def some_masks(shape=(3, 6, 7)):
    return hnp.arrays(bool, shape).filter(lambda masks: 0 < masks.sum() < masks.size)


def some_maps(shape=(3, 6, 7), dtype=np.float32):
    return hnp.arrays(dtype, shape, elements=few_scores.map(dtype))


@settings(max_examples=40)
@given(some_masks(), some_maps(), some_maps(dtype=np.float64))
def test_placing_pixels_by_cells_counts_like_sorting(masks, maps, wide):
    for these in (maps, wide, wide * 1e300, wide * 1e-310, maps + np.float32(1e30)):
        scores, normal = np.sort(these[masks]), np.sort(these[~masks])
        placed = place(masks, these)
        np.testing.assert_array_equal(placed.above, len(normal) - normal.searchsorted(scores, "right"))
        np.testing.assert_array_equal(placed.at_or_above, len(normal) - normal.searchsorted(scores, "left"))
        assert placed.normal == len(normal)


def test_placing_does_not_depend_on_block_or_cell_sizes(monkeypatch):
    generator = np.random.default_rng(0)
    masks = generator.random((9, 30, 31)) < 0.1
    maps = np.round(generator.normal(size=masks.shape), 2).astype(np.float32)
    whole = place(masks, maps)
    for name, size in (("BLOCK", 1000), ("NEAR", 50), ("CELLS", 7)):
        monkeypatch.setattr(placement, name, size)
        pieces = place(masks, maps)
        np.testing.assert_array_equal(pieces.above, whole.above)
        np.testing.assert_array_equal(pieces.at_or_above, whole.at_or_above)
    assert pro(masks, maps, 0.1) == pytest.approx(pixel_metrics(masks, maps, [0.1]).pro[0.1], abs=1e-15)


@settings(max_examples=40)
@given(some_masks(), some_maps())
def test_pro_to_the_end_is_the_mean_auroc_of_regions_and_turns_over_with_the_sign(masks, maps):
    found = pixel_metrics(masks, maps, [1.0])
    regions = find_regions(masks)
    normal = maps[~masks]
    of_regions = []
    for r in range(len(regions)):
        pixels = maps[masks][regions.of_pixel == r]
        truth = np.repeat([1, 0], [len(pixels), len(normal)])
        of_regions.append(roc_auc_score(truth, np.concatenate([pixels, normal])))
    np.testing.assert_allclose(found.region_auroc, of_regions, atol=1e-12)
    assert found.pro[1.0] == pytest.approx(np.mean(of_regions), abs=1e-12)
    assert pro(masks, -maps, 1.0) == pytest.approx(1 - pro(masks, maps, 1.0), abs=1e-12)
    assert pixel_auroc(masks, -maps) == pytest.approx(1 - pixel_auroc(masks, maps), abs=1e-12)


@settings(max_examples=40)
@given(some_masks(), some_maps(), st.permutations(range(3)), st.sampled_from([0.05, 0.3, 1.0]))
def test_the_order_of_images_does_not_matter(masks, maps, order, limit):
    for metric in (pixel_auroc, partial(pro, max_fpr=limit), partial(pro, max_fpr=limit, average="image")):
        assert metric(masks[order], maps[order]) == pytest.approx(metric(masks, maps), abs=1e-12)


@given(some_masks())
def test_a_map_like_the_mask_is_perfect_and_a_constant_one_is_chance(masks):
    assert pixel_auroc(masks, masks.astype(np.float32)) == pro(masks, masks.astype(np.float32)) == 1
    level = np.full(masks.shape, 7.0)
    assert pixel_auroc(masks, level) == 0.5
    assert pro(masks, level, 0.3) == pytest.approx(0.15, abs=1e-15)


@given(some_masks((2, 9, 8)))
def test_regions_are_scipys_components(masks):
    for connectivity, joined in ((8, np.ones((3, 3))), (4, None)):
        regions = find_regions(masks, connectivity)
        labelled = [label(mask, joined) for mask in masks]
        assert len(regions) == sum(n for _, n in labelled) == count_regions(masks, connectivity)
        sizes = np.concatenate([np.bincount(names.ravel(), minlength=n + 1)[1:] for names, n in labelled])
        np.testing.assert_array_equal(np.sort(regions.size), np.sort(sizes))
        own = np.concatenate([names[mask] for (names, _), mask in zip(labelled, masks, strict=True)])
        image = np.repeat([0, 1], masks.sum(axis=(1, 2)))
        joint = {(r, i, n) for r, i, n in zip(regions.of_pixel, image, own, strict=True)}
        assert len(joint) == len(regions), "a region here is one component there"


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), few_scores), min_size=2, max_size=30))
def test_ranking_metrics_agree_with_scikit_learn(pairs):
    labels, scores = (np.array(values) for values in zip(*pairs, strict=True))
    assume(0 < labels.sum() < len(labels))
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    fpr, tpr = roc(labels, scores)
    theirs = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose((fpr, tpr), theirs[:2], atol=1e-12)
    best = f1_max(labels, scores)
    found = [f1_score(labels, scores > t) for t in np.append(scores, -np.inf)]
    assert best.f1 == pytest.approx(max(found), abs=1e-12)
    assert f1_score(labels, scores > best.threshold) == pytest.approx(best.f1, abs=1e-12)
    assert false_alarm_rate(labels, scores, best.threshold) == (scores[~labels] > best.threshold).mean()
    assert detection_rate(labels, scores, 0.5) == (scores[labels] > 0.5).mean()


@settings(max_examples=40)
@given(some_masks(), some_maps())
def test_curves_pass_through_what_they_are_areas_of(masks, maps):
    fpr, overlap = pro_curve(masks, maps, points=10**6)
    assert np.trapezoid(overlap, fpr) == pytest.approx(pro(masks, maps, 1.0), abs=1e-6)
    fpr, tpr = pixel_roc(masks, maps, points=10**6)
    assert np.trapezoid(tpr, fpr) == pytest.approx(pixel_auroc(masks, maps), abs=1e-6)


def test_a_thinned_curve_is_short_and_strays_less_than_it_says():
    generator = np.random.default_rng(0)
    masks = generator.random((4, 200, 200)) < 0.2
    maps = (generator.normal(size=masks.shape) + 2 * masks).astype(np.float32)
    fpr, tpr = pixel_roc(masks, maps, points=100)
    exact_fpr, exact_tpr, _ = roc_curve(masks.ravel(), maps.ravel())
    assert len(fpr) < 4 * 100 < len(exact_fpr)
    exact = set(zip(exact_fpr.round(12), exact_tpr.round(12), strict=True))
    all_points = roc_curve(masks.ravel(), maps.ravel(), drop_intermediate=False)
    exact |= set(zip(all_points[0].round(12), all_points[1].round(12), strict=True))
    assert all(point in exact for point in zip(fpr.round(12), tpr.round(12), strict=True))
    assert (np.diff(fpr) >= 0).all() and (np.diff(tpr) >= 0).all()
    assert abs(np.interp(all_points[0], fpr, tpr) - all_points[1]).max() < 1 / 100


@given(hnp.arrays(np.float64, (3, 4, 4), elements=st.floats(-3, 3)))
def test_increasing_maps_of_the_scores_change_nothing(maps):
    masks = np.zeros((3, 4, 4), dtype=bool)
    masks[0, :2, :2] = True
    maps = np.round(maps, 3)
    for metric in (pixel_auroc, pro):
        assert metric(masks, np.exp(maps)) == pytest.approx(metric(masks, maps), abs=1e-12)


def test_a_perfect_ranking_of_a_few_images_does_not_prove_perfection():
    labels, scores = np.repeat([0, 1], [20, 63]), np.arange(83)
    low, high = auroc_interval(labels, scores)
    assert 0.92 < low < 0.95 and high == 1
    assert auroc_interval(labels, scores, method="delong") == (1, 1)
    assert auroc_interval(labels, scores, method="bootstrap") == (1, 1)


def test_a_published_value_gets_the_interval_that_its_images_leave_open():
    labels, scores = np.repeat([0, 1], [20, 63]), np.arange(83)
    assert auroc_interval_at(1.0, 20, 63) == pytest.approx(auroc_interval(labels, scores), abs=1e-12)
    few, many = (np.ptp(auroc_interval_at(0.98, n, 3 * n)) for n in (20, 80))
    assert 1.5 * many < few


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 2**16),
    st.sampled_from(["adaptive", "score"]),
)
def test_an_interval_holds_the_number_and_turns_over_with_the_sign(good, anomalous, seed, method):
    labels = np.repeat([0, 1], [good, anomalous])
    scores = np.random.default_rng(seed).integers(0, 6, good + anomalous)
    low, high = auroc_interval(labels, scores, method=method)
    assert 0 <= low <= auroc(labels, scores) <= high <= 1 and low < high
    assert auroc_interval(labels, -scores, method=method) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    wider = auroc_interval(labels, scores, 0.99, method=method)
    assert wider[0] <= low and wider[1] >= high


def covered(good, anomalous, truth, sets, rng):
    """Share of simulated test sets (normal scores) whose interval covers the true AUROC, and the mean width."""
    labels = np.repeat([0, 1], [good, anomalous])
    shift = norm.ppf(truth) * 2**0.5
    ends = np.array([auroc_interval(labels, rng.normal(size=len(labels)) + shift * labels) for _ in range(sets)])
    return ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean(), np.ptp(ends, axis=1).mean()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(12, 30), (20, 63), (41, 119), (58, 92)])
def test_the_default_interval_covers_what_it_says(size):
    rng = np.random.default_rng(5)
    for truth in (0.80, 0.90, 0.98, 0.995):
        share, width = covered(*size, truth, 1000, rng)
        assert 0.93 <= share <= 0.99, (size, truth, share, width)


def random_set(seed=0, n=10, size=24, step=None):
    generator = np.random.default_rng(seed)
    masks = np.zeros((n, size, size), dtype=bool)
    for mask in masks[: n * 6 // 10]:
        row, col = generator.integers(0, size - 8, 2)
        mask[row : row + 6, col : col + 5] = True
        mask[row, (col + 12) % size] = True
    maps = (generator.normal(size=masks.shape) + 1.5 * masks).astype(np.float32)
    return masks, np.round(maps / step) * np.float32(step) if step else maps


@pytest.mark.parametrize("step", [None, 0.5])  # without ties, and with many
def test_a_replicate_is_the_metric_of_the_images_drawn(step, monkeypatch):
    monkeypatch.setattr(bootstrap, "SLICE", 7)
    masks, maps = random_set(step=step)
    drawn = draws(masks.any(axis=(1, 2)), 20, seed=0)
    found = replicate(masks, maps, drawn, max_fpr=0.2)
    for row, auroc_of, pro_of in zip(drawn, *found, strict=True):
        images = np.repeat(np.arange(len(masks)), row)
        assert row.sum() == len(masks) and row[:6].sum() == 6
        assert auroc_of == pytest.approx(pixel_auroc(masks[images], maps[images]), abs=1e-12)
        assert pro_of == pytest.approx(pro(masks[images], maps[images], 0.2), abs=1e-6)


def test_pixel_intervals_hold_the_number_widen_with_the_level_and_repeat():
    masks, maps = random_set()
    for method in ("logit", "percentile"):
        narrow, again, wide = (
            pixel_intervals(masks, maps, level=level, method=method, replicates=200) for level in (0.8, 0.8, 0.95)
        )
        assert narrow == again
        for inner, outer, value in (
            (narrow.pixel_auroc, wide.pixel_auroc, pixel_auroc(masks, maps)),
            (narrow.pro, wide.pro, pro(masks, maps)),
        ):
            assert 0 < outer[0] < inner[0] < value < inner[1] < outer[1] < 1


def test_perfect_maps_of_a_few_images_do_not_prove_perfection():
    masks, _ = random_set()
    found = pixel_intervals(masks, masks.astype(np.float32), replicates=50)
    assert found.pro == found.pixel_auroc == (pytest.approx(0.025 ** (1 / 6)), 1)
    assert found.methods[0] == "no replicate differs: what 6 defective images leave open"


def test_one_defective_image_leaves_nearly_everything_open():
    masks, maps = np.zeros((1, 4, 4), dtype=bool), np.arange(16.0).reshape(1, 4, 4)
    masks[0, 2, 2] = True
    low, high = pixel_intervals(masks, maps, replicates=5).pixel_auroc
    assert low < 0.05 and high > 0.95


def test_large_whole_numbers_are_ranked_exactly():
    labels, scores = np.array([0, 1, 0]), np.array([2**53, 2**53 + 1, 0])
    assert auroc(labels, scores) == average_precision(labels, scores) == f1_max(labels, scores).f1 == 1


def test_maps_of_the_other_byte_order_give_the_same():
    masks, maps = random_set()
    assert pro(masks, maps.astype(maps.dtype.newbyteorder())) == pro(masks, maps)


def test_comparing_a_method_with_itself_finds_nothing():
    masks, maps = random_set()
    labels, scores = masks.any(axis=(1, 2)), maps.max(axis=(1, 2))
    for method in ("permutation", "delong"):
        found = compare_auroc(labels, scores, scores, method=method, replicates=200)
        assert found.difference == 0 and found.p == 1 and found.interval == (0, 0)
    for found in compare_pixels(masks, maps, maps, replicates=50):
        assert found.difference == 0 and found.p == 1 and "no replicate differs" in found.warning


def test_comparisons_find_a_difference_that_is_there():
    masks, maps = random_set(n=40)
    blind = np.random.default_rng(1).normal(size=maps.shape).astype(np.float32)
    for found in compare_pixels(masks, maps, blind, replicates=200):
        assert found.difference > 0.2 and found.p < 0.02 and found.interval[0] > 0
    labels = np.repeat([0, 1], 30)
    good, poor = labels + 0.8 * np.random.default_rng(0).normal(size=(2, 60)) * [[1], [3]]
    for method in ("permutation", "delong"):
        found = compare_auroc(labels, good, poor, method=method)
        assert found.first > found.second and found.p < 0.01 and found.interval[0] > 0 and found.warning is None
        back = compare_auroc(labels, poor, good, method=method)
        assert back.p == pytest.approx(found.p, abs=0.01) and back.difference == -found.difference


def test_all_exchanges_are_tried_when_they_are_few():
    labels, first, second = np.array([0, 0, 1, 1]), np.array([1, 2, 3, 4]), np.array([1, 4, 2, 3])
    found = compare_auroc(labels, first, second)  # 16 ways; AUROC 1 against 1/2
    ranks = np.stack([first, second])
    by_hand = []
    for swap in product([False, True], repeat=4):
        a, b = np.where(swap, ranks[1], ranks[0]), np.where(swap, ranks[0], ranks[1])
        by_hand.append(abs(auroc(labels, a) - auroc(labels, b)) >= 0.5)
    assert found.p == np.mean(by_hand)
    assert "images are out of place" in found.warning and "careful" in str(found)


def test_the_permutation_test_keeps_its_promise_near_a_perfect_score():
    rng, labels = np.random.default_rng(0), np.repeat([0, 1], [12, 30])
    rejected = 0
    for i in range(120):
        shared = 3 * labels + 0.5 * rng.normal(size=42)
        first, second = shared + rng.normal(size=(2, 42))
        rejected += compare_auroc(labels, first, second, replicates=199, seed=i).p <= 0.05
    assert rejected <= 14  # 6 are expected; 15 and more have probability 0.001


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auroc([0, 0], [1.0, 2.0]), r"one class only \(2 good, 0 anomalous\)"),
        (
            lambda: auroc([0, 2], [1.0, 2.0]),
            "labels must be binary .0 and 1., found values such as 2; threshold",
        ),
        (lambda: auroc([0.3, 0.7], [0, 1]), "labels must be binary.*labels come before scores"),
        (lambda: auroc([0, 1], [1.0, np.nan]), "scores hold 1 NaN or infinite values, the first in image 1"),
        (lambda: auroc([0, 1], [1.0, 2.0, 3.0]), r"both be \(n,\), got \(2,\) and \(3,\)"),
        (
            lambda: auroc_interval([0, 1], [1.0, 2.0], level=95),
            r"level must lie in \(0, 1\), got 95; for 95 % write 0.95",
        ),
        (lambda: auroc([0, 1], ["low", "high"]), "scores must be real numbers, got <U4"),
        (lambda: auroc(["good", "bad"], [1, 2]), "labels must be binary .0 and 1., found values such as bad, good"),
        (lambda: pro(np.eye(2)[None], np.eye(2)[None], None), r"max_fpr must lie in \(0, 1\], got None"),
        (lambda: pixel_roc(np.eye(2)[None], np.eye(2)[None], points=0), "points must be a whole number of at least 1"),
        (lambda: compare_auroc([0, 1], [1, 2], [2, 1], replicates=2.5), "replicates must be a whole number"),
        (lambda: false_alarm_rate([0, 1], [1, 2], np.nan), "threshold must be a number, got NaN"),
        (lambda: count_regions(np.eye(3, dtype=bool)), r"masks must be \(n, h, w\), got \(3, 3\)"),
        (lambda: auroc_interval_at(98.2, 20, 63), r"value must lie in \[0, 1\], got 98.2; for 98 % write 0.98"),
        (lambda: auroc_interval_at(0.98, 0, 63), "n_good must be a whole number of at least 1, got 0"),
        (lambda: auroc_interval([0, 1], [1.0, 2.0], method="wald"), "method must be one of 'adaptive', 'score'"),
        (lambda: auroc_interval([0, 1], [1.0, 2.0], method="delong"), "at least 2 images of each class, got 1 good"),
        (lambda: compare_auroc([0, 1], [1, 2], [2, 1], method="delong"), "at least 2 images of each class, got 1 good"),
        (lambda: compare_auroc([0, 1], [1, 2], [2, 1, 3]), r"both be \(n,\), got \(2,\) and \(3,\)"),
        (lambda: auroc_interval([0, 1], [1, 2], method="bootstrap", replicates=0), "replicates must be a whole number"),
        (lambda: pro(np.eye(2)[None], np.eye(2)[None], connectivity=6), "connectivity must be 8"),
        (lambda: pro(np.eye(2)[None], np.eye(2)[None], average="pixel"), "average must be one of 'region', 'image'"),
        (lambda: pro(np.eye(2)[None], np.eye(2)[None], fpr_images="good"), "fpr_images must be one of 'all', 'ano"),
        (lambda: pro(ALL_AND_NOTHING, np.ones((2, 2, 2)), fpr_images="own"), "no normal pixel in one of the images"),
        (lambda: pro(ALL_AND_NOTHING, np.ones((2, 2, 2)), fpr_images="anomalous"), "no normal pixel in the images"),
        (
            lambda: pixel_auroc(np.eye(2)[None], np.eye(2, dtype=int)[None]),
            "must be float32 or float64, got int64",
        ),
        (lambda: pixel_auroc(np.eye(2)[None], np.eye(2, dtype=np.float16)[None]), "got float16"),
        (lambda: pixel_metrics(np.eye(2)[None], np.eye(2)[None], [0.3, 0]), r"limits must lie in \(0, 1\], got 0"),
        (lambda: pro(np.ones((1, 2, 2)), np.ones((1, 2, 2))), "there is no normal pixel"),
        (lambda: pixel_auroc(np.zeros((1, 2, 2)), np.ones((1, 2, 2))), "there is no anomalous pixel"),
        (lambda: pro(np.eye(2)[None], np.eye(2)[None], max_fpr=30), r"got 30; for 30 % write 0\.3"),
        (
            lambda: pro(np.eye(2)[None] * 255, np.eye(2)[None]),
            "masks must be binary .0 and 1., found .* 255",
        ),
        (lambda: pro(np.eye(2)[None], np.eye(2)), r"got \(1, 2, 2\) and \(2, 2\)"),
        (lambda: pixel_auroc(np.eye(2)[None], np.full((1, 2, 2), np.inf)), "maps hold 4 NaN or infinite values"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_masks_the_image_metrics_stand_and_the_pixel_metrics_say_why(washers):
    bare = [FileSample(f"test/stain/{i}.png", "stain", Path("unused"), mask_path=None) for i in range(2)]
    scores = Scores(np.array([1.0, 2.0, 3.0, 4.0]), np.zeros((4, 32, 32)), [*washers.test[:2], *bare], Framing(48, 32))
    found = evaluate(scores)
    assert found.image_auroc == 1 and found.pixel_auroc is None and found.pro is None and found.n_regions is None
    assert "no mask is known for test/stain/0.png, test/stain/1.png" in found.notes["PRO"]


def test_evaluation_says_why_a_metric_is_undefined():
    samples = Toybox("washer", train=1, good=2, defective=0, size=64).test
    scores = Scores(np.array([1.0, 2.0]), np.zeros((2, 32, 32)), samples, Framing(48, 32))
    found = evaluate(scores)
    assert (found.n_good, found.n_anomalous, found.n_regions) == (2, 0, 0)
    assert found.image_auroc is None and "one class only" in found.notes["image AUROC"]
    assert found.pro is None
    assert re.search("PRO +none +undefined: there is no anomalous pixel", str(found))


def test_evaluation_says_what_its_numbers_rest_on(washers):
    n, framing = len(washers.test), Framing(48, 32)
    masks = Scores(np.zeros(n), np.zeros((n, 32, 32)), washers.test, framing).masks()
    labels = np.array([s.label for s in washers.test])
    generator = np.random.default_rng(0)
    maps = (generator.normal(size=masks.shape) + 2 * masks).astype(np.float32)
    scores = Scores(maps.max(axis=(1, 2)), maps, washers.test, framing)
    found = evaluate(scores, replicates=100)
    assert found.image_auroc_interval == auroc_interval(labels, scores.image)
    intervals = pixel_intervals(masks, maps, replicates=100)
    assert (found.pixel_auroc_interval, found.pro_interval) == intervals[:2]
    assert found.n_regions == count_regions(masks) == sum(d.n_regions for d in found.by_defect)
    assert sum(d.n for d in found.by_defect) == found.n_anomalous
    seen = [(d.pro, d.n_regions) for d in found.by_defect if d.pro is not None]  # the crop cuts some kinds off
    assert sum(value * n for value, n in seen) == pytest.approx(found.pro * found.n_regions, abs=1e-12)
    first = next(d for d in found.by_defect if d.n_regions)
    either = np.array([s.label == 0 or s.defect == first.defect for s in washers.test])
    assert first.image_auroc == auroc(labels[either], scores.image[either])
    assert first.pixel_auroc == pytest.approx(
        roc_auc_score(*(np.concatenate([a[either].ravel(), a[~either][~masks[~either]]]) for a in (masks, maps)))
    )
    text, page = str(found), found._repr_html_()
    for shown in (f"{found.pro:.4f}", "{:.3f} to {:.3f}".format(*found.pro_interval), first.defect, "95 % interval"):
        assert shown in text and shown in page
    assert evaluate(scores, replicates=0).pro_interval is None


def test_a_good_sample_with_a_mask_is_refused(washers):
    class Odd(FileSample):
        def load_mask(self):
            return np.ones((64, 64), dtype=bool)

    samples = [washers.test[-1], Odd("test/good/0.png", "good", Path("unused"), mask_path=None)]
    with pytest.raises(ValueError, match=r"good samples must have empty masks, but these have not: test/good/0\.png"):
        evaluate(Scores(np.array([1.0, 2.0]), np.zeros((2, 32, 32)), samples, Framing(48, 32)))
