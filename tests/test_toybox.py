from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pclib.toybox import CATEGORIES, NAMES, open_toybox

KINDS = [(name, kind) for name in NAMES for kind in CATEGORIES[name].DEFECTS]


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_the_same_whenever_it_is_drawn(name):
    for a, b in zip(open_toybox(name).test[:30:7], open_toybox(name).test[:30:7], strict=True):
        assert np.array_equal(a.load(), b.load()) and np.array_equal(a.load_mask(), b.load_mask())


@pytest.mark.parametrize("name", NAMES)
def test_no_two_pictures_are_alike(name):
    category = open_toybox(name, train=4, good=4, defective=4, size=64)
    pictures = {sample.load().tobytes() for sample in [*category.train, *category.test]}
    pictures |= {sample.load().tobytes() for sample in open_toybox(name, train=4, good=1, size=64, seed=1).train}
    assert len(pictures) == 16


@settings(max_examples=5)
@pytest.mark.parametrize(("name", "kind"), KINDS)
@given(seed=st.integers(0, 2**31), size=st.sampled_from([64, 128]))
def test_a_defect_changes_exactly_the_pixels_of_its_mask(name, kind, seed, size):
    tested = open_toybox(name, train=1, good=0, defective=2 * len(CATEGORIES[name].DEFECTS), size=size, seed=seed).test
    for sample in (s for s in tested if s.defect == kind):
        changed = (np.asarray(sample.load()) != np.asarray(sample.clean())).any(-1)
        mask = sample.load_mask()
        assert np.array_equal(mask, changed)
        assert 0 < mask.mean() < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_training_and_test_pictures_with_the_same_index_differ(name):
    category = open_toybox(name, train=1, good=1, defective=0, size=64)
    assert (np.asarray(category.train[0].load()) != np.asarray(category.test[0].load())).any()


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_defect_can_be_seen_in_its_own_pixels(name, kind):
    tested = open_toybox(name, train=1, good=0, defective=8 * len(CATEGORIES[name].DEFECTS), size=128, seed=2).test
    for sample in (s for s in tested if s.defect == kind):
        change = np.abs(np.asarray(sample.load(), dtype=int) - np.asarray(sample.clean())).max(-1)
        assert np.median(change[sample.load_mask()]) > 5


def test_defective_pictures_are_spread_over_the_kinds():
    category = open_toybox("washer", train=3, good=2, defective=10)
    counts = [sum(s.defect == kind for s in category.test) for kind in category.defects]
    assert sorted(counts) == [2, 2, 3, 3] and len(category.train) == 3
    assert not any(s.load_mask().any() for s in category.test if s.label == 0)


@pytest.mark.parametrize("name", NAMES)
def test_samples_travel_to_other_processes(name):
    sample = open_toybox(name).test[-1]
    assert np.array_equal(pickle.loads(pickle.dumps(sample)).load(), sample.load())


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="no embedded category 'bottle'; there is washer"):
        open_toybox("bottle")
    with pytest.raises(ValueError, match="no embedded category 'weav'; there is weave"):
        open_toybox("weav")
    with pytest.raises(ValueError, match="size must be a whole number of at least 64, got 32"):
        open_toybox("washer", size=32)
    with pytest.raises(ValueError, match="train must be a whole number of at least 1, got 0"):
        open_toybox("washer", train=0)
