from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from pclib.datasets import FileSample
from pclib.detector import Scores
from pclib.framing import Framing
from pclib.metrics import auroc, auroc_interval, count_regions, evaluate, pixel_auroc, pro
from pclib.toybox import Toybox

few_scores = st.sampled_from([-2.0, -0.0, 0.0, 0.5, 0.5000001, 1.0, 40.0])  # many ties, signed zeros, a near tie


@pytest.mark.golden
def test_metrics_agree_with_exact_recorded_values_to_1e_9(golden):
    checked = 0
    for name, case in json.loads((golden / "metrics/cases.json").read_text()).items():
        with np.load(golden / "metrics" / case["file"]) as data:
            masks, maps, labels, scores = (data[k] for k in ("masks", "maps", "labels", "image_scores"))
        calls = [(case["image_auroc"], auroc, (labels, scores)), (case["pixel_auroc"], pixel_auroc, (masks, maps))]
        calls += [(case["pro"]["0.3"], pro, (masks, maps))]  # the default limit
        calls += [(value, pro, (masks, maps, float(limit))) for limit, value in case["pro"].items()]
        for expected, metric, arguments in calls:
            checked += 1
            if expected is None:
                with pytest.raises(ValueError, match="undefined"):
                    metric(*arguments)
            else:
                assert metric(*arguments) == pytest.approx(expected, abs=1e-9), (name, metric)
        interval = case["image_auroc_interval"]["score"]
        if interval is not None and interval.get("lower") is not None:
            assert auroc_interval(labels, scores) == pytest.approx((interval["lower"], interval["upper"]), abs=1e-9)
    assert checked == 66


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
    from scipy.ndimage import label

    regions = [
        (i, labels == r)
        for i, (labels, n) in enumerate(label(m, np.ones((3, 3))) for m in masks)
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
    assert 0.9 < low < 0.96 and high == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auroc([0, 0], [1.0, 2.0]), r"one class only \(2 good, 0 anomalous\)"),
        (lambda: auroc([0, 2], [1.0, 2.0]), "labels must be binary, found values such as 2; threshold them yourself"),
        (lambda: auroc([0.3, 0.7], [0, 1]), "labels must be binary.*labels come before scores"),
        (lambda: auroc([0, 1], [1.0, np.nan]), "scores hold 1 NaN or infinite values, the first in image 1"),
        (lambda: auroc([0, 1], [1.0, 2.0, 3.0]), r"both be \(n,\), got \(2,\) and \(3,\)"),
        (lambda: auroc_interval([0, 1], [1.0, 2.0], level=95), r"level must lie in \(0, 1\), got 95"),
        (lambda: pro(np.ones((1, 2, 2)), np.ones((1, 2, 2))), "there is no normal pixel"),
        (lambda: pixel_auroc(np.zeros((1, 2, 2)), np.ones((1, 2, 2))), "there is no anomalous pixel"),
        (lambda: pro(np.eye(2)[None], np.eye(2)[None], max_fpr=30), r"got 30; for 30 % write 0\.3"),
        (lambda: pro(np.eye(2)[None] * 255, np.eye(2)[None]), "masks must be binary, found values such as 255"),
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
    assert "PRO          none (undefined: there is no anomalous pixel)" in str(found)
