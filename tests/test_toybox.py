from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import label

import pclib
from pclib.samples import GOOD
from pclib.toybox import CATEGORIES, EIGHT_CONNECTED, NAMES, Toybox, cards, photographs, textures
from pclib.toybox.coins import COINS, TESTING, TRAINING
from pclib.toybox.drawing import coverage
from pclib.toybox.knobs import Knobs

from .conftest import ROOT

KINDS = [(name, kind) for name in NAMES for kind in CATEGORIES[name].defects]


def pixels(sample) -> np.ndarray:
    return np.asarray(sample.load()).astype(int)


def of_kind(name: str, kind: str, count: int = 1, **options):
    """`count` test pictures with that defect."""
    tested = Toybox(name, train=1, good=0, defective=count * len(CATEGORIES[name].defects), **options).test
    return [sample for sample in tested if sample.defect == kind]


# ---- what a picture is


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_the_same_whenever_it_is_drawn(name):
    for a, b in zip(Toybox(name).test[:30:13], Toybox(name).test[:30:13], strict=True):
        assert np.array_equal(a.load(), b.load()) and np.array_equal(a.load_mask(), b.load_mask())


@pytest.mark.parametrize("name", NAMES)
def test_no_two_pictures_are_alike(name):
    category = Toybox(name, train=4, good=4, defective=8, size=64)
    pictures = {sample.load().tobytes() for sample in [*category.train, *category.test]}
    pictures |= {sample.load().tobytes() for sample in Toybox(name, train=4, good=1, size=64, seed=1).train}
    assert len(pictures) == 20


@settings(max_examples=3)
@pytest.mark.parametrize(("name", "kind"), KINDS)
@given(
    seed=st.integers(0, 2**31),
    size=st.sampled_from([64, 100]),
    number=st.sampled_from([1, 3]),
    defect_size=st.sampled_from([0.25, 1.0, 3.0]),
    contrast=st.sampled_from([0.05, 1.0]),
)
def test_a_defect_changes_exactly_the_pixels_of_its_mask(name, kind, seed, size, number, defect_size, contrast):
    knobs = {"number": number, "defect_size": defect_size, "contrast": contrast}
    for sample in of_kind(name, kind, size=size, seed=seed, **knobs):
        changed = (pixels(sample) != np.asarray(sample.clean())).any(-1)
        assert np.array_equal(sample.load_mask(), changed)
        assert changed.any()


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_defect_can_be_seen_in_its_own_pixels(name, kind):
    for sample in of_kind(name, kind, 4, size=96, seed=2):
        change = np.abs(pixels(sample) - np.asarray(sample.clean())).max(-1)
        assert np.quantile(change[sample.load_mask()], 0.8) > 8


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), which=st.sampled_from(KINDS), number=st.integers(1, 4))
def test_flaws_are_the_connected_parts_of_the_mask(seed, which, number):
    (sample,) = of_kind(*which, size=96, seed=seed, number=number)
    mask, found = sample.load_mask(), sample.flaws()
    labels, count = label(mask, EIGHT_CONNECTED)
    assert len(found) == count and sum(flaw.size for flaw in found) == mask.sum()
    change = np.abs(pixels(sample) - np.asarray(sample.clean())).mean(-1)
    for i, flaw in enumerate(found, 1):
        assert flaw.kind == which[1]
        assert flaw.centre == pytest.approx(np.argwhere(labels == i).mean(0))
        assert flaw.contrast == pytest.approx(change[labels == i].mean())


def test_good_pictures_have_no_flaws():
    sample = Toybox("board", size=64).train[0]
    assert sample.flaws() == [] and not sample.load_mask().any()
    assert np.array_equal(sample.load(), sample.clean())


@pytest.mark.parametrize("name", NAMES)
def test_training_and_test_pictures_with_the_same_index_differ(name):
    category = Toybox(name, train=1, good=1, defective=0, size=64)
    assert (pixels(category.train[0]) != pixels(category.test[0])).any()


def test_defective_pictures_are_spread_over_the_kinds():
    category = Toybox("washer", train=3, good=2, defective=10)
    counts = [sum(s.defect == kind for s in category.test) for kind in category.defects]
    assert sorted(counts) == [2, 2, 3, 3] and len(category.train) == 3
    assert not any(s.load_mask().any() for s in category.test if s.label == 0)


def test_a_toybox_is_a_category_like_any_other():
    category = pclib.open_category("toybox/gravel")
    assert isinstance(category, pclib.Category) and category.name == "toybox/gravel"
    assert category == pclib.Toybox("gravel") != pclib.Toybox("gravel", noise=2)
    assert set(category.defects) == set(CATEGORIES["gravel"].defects)


@pytest.mark.parametrize("name", NAMES)
def test_samples_and_categories_travel_to_other_processes(name):
    category = pickle.loads(pickle.dumps(Toybox(name, noise=2.0, size=64)))
    assert category == Toybox(name, noise=2.0, size=64)
    assert np.array_equal(category.test[-1].load(), Toybox(name, noise=2.0, size=64).test[-1].load())


# ---- the same everywhere

DRAW = """
import sys, numpy as np
from pclib.toybox import NAMES, Toybox
drawn = {name: [np.asarray(sample.load()) for sample in Toybox(name, good=1, size=96).test] for name in NAMES}
np.savez(sys.argv[1], **{name: np.stack(pictures) for name, pictures in drawn.items()})
"""


@pytest.mark.slow
def test_other_kinds_of_processor_draw_the_same_to_one_grey_level(tmp_path):
    drawn = {}
    for kind, without in (("this", ""), ("plain", "AVX512_SKX AVX512_SPR AVX512_ICL X86_V4 AVX2 FMA3 X86_V3")):
        environment = {
            **os.environ,
            "NPY_DISABLE_CPU_FEATURES": without,
            "PYTHONWARNINGS": "ignore",
            "PYTHONHASHSEED": "7",
        }
        subprocess.run([sys.executable, "-c", DRAW, str(tmp_path / kind)], env=environment, check=True)
        drawn[kind] = np.load(tmp_path / f"{kind}.npz")
    for name in NAMES:
        assert np.abs(drawn["this"][name].astype(int) - drawn["plain"][name]).max() <= 1, name


@pytest.mark.slow
def test_the_data_cards_are_current_and_so_are_the_bytes_of_the_pictures():
    stored = (ROOT / "data/toybox.md").read_text()
    recorded = re.search(r"computed with (.*)\.", stored)[1]
    if recorded != cards.versions():
        pytest.skip(f"data/toybox.md was written with {recorded}; here are {cards.versions()}")
    assert stored == cards.text(), "make cards"


def test_every_defect_and_category_is_described():
    for recipe in CATEGORIES.values():
        assert recipe.title and recipe.variation and recipe.source and set(recipe.logical) <= set(recipe.defects)
        assert all(draw.__doc__ and draw.__doc__.splitlines()[0].endswith(".") for draw in recipe.defects.values())


# ---- nothing of the test was in training


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    name=st.sampled_from(["brick", "gravel", "grass"]),
    training=st.booleans(),
    jitter=st.floats(0, 3),
    irregularity=st.floats(0, 3),
)
def test_training_and_test_windows_come_from_different_parts(seed, name, training, jitter, irregularity):
    """A photograph whose training part is white and whose test part is black must give pictures of one colour."""
    whole = photographs.photograph(name)
    painted = np.zeros_like(whole)
    painted[:, : round(photographs.TRAINING_SHARE * whole.shape[1])] = 1
    original, photographs.photograph = photographs.photograph, lambda _: painted
    try:
        recipe: textures.Texture = CATEGORIES[name].draw.__self__
        knobs = Knobs(jitter=jitter, irregularity=irregularity)
        grey = photographs.crop(
            name, np.random.default_rng(seed), 64, knobs, training,
            window=recipe.window, turn=recipe.turn, zoom=0.05, flip_down=recipe.flip_down, bend=recipe.bend,
        )  # fmt: skip
    finally:
        photographs.photograph = original
    assert np.allclose(grey, 1.0 if training else 0.0)


def test_no_coin_is_in_both_parts():
    assert not set(TRAINING) & set(TESTING) and set(TRAINING) | set(TESTING) == set(range(len(COINS)))
    category = Toybox("coins", train=2, good=2)
    for sample, allowed in ((category.train[0], TRAINING), (category.test[0], TESTING)):
        rng = np.random.default_rng([*sample._key(), 0])
        scene = CATEGORIES["coins"].draw(rng, 64, Knobs(), sample.name.startswith("train/")).scene
        assert {coin.coin for coin in scene.coins} <= set(allowed)


def test_photographs_are_read_between_pixels_and_never_changed():
    whole = photographs.photograph("gravel")
    with pytest.raises(ValueError, match="read-only"):
        whole[0, 0] = 1
    rows, columns = np.array([[10.0, 20.0]]), np.array([[30.0, 40.0]])
    assert np.allclose(photographs.between(whole, rows, columns, 0, 512), [[whole[10, 30], whole[20, 40]]])
    ramp = np.outer(np.linspace(0, 1, 50), np.ones(50))
    halfway = photographs.between(ramp, np.array([[10.5]]), np.array([[20.25]]), 0, 50)
    assert np.allclose(halfway, (ramp[10, 0] + ramp[11, 0]) / 2)
    with pytest.raises(FileNotFoundError, match="no such photograph; install scikit-image"):
        photographs.photograph("slate")


# ---- knobs


def test_defect_knobs_leave_everything_else_as_it_was():
    for name in NAMES:
        plain = of_kind(name, next(iter(CATEGORIES[name].defects)), size=64)[0]
        kind = plain.defect
        for knobs in ({"contrast": 0.5}, {"defect_size": 2.0}, {"number": 3}):
            (turned,) = of_kind(name, kind, size=64, **knobs)
            assert np.array_equal(turned.clean(), plain.clean()), (name, knobs)


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_contrast_scales_the_difference_in_the_same_place(name, kind):
    full, half = (of_kind(name, kind, size=128, contrast=contrast, noise=0)[0] for contrast in (1.0, 0.5))
    assert np.array_equal(full.load_mask(), half.load_mask())
    assert half.flaws()[0].contrast == pytest.approx(full.flaws()[0].contrast / 2, rel=0.15, abs=1.0)


@pytest.mark.parametrize("name", ["washer", "gravel", "weave"])
def test_defect_size_and_number_enlarge_what_is_defective(name):
    areas = [
        np.mean([s.load_mask().mean() for s in Toybox(name, good=0, defective=20, size=96, **knobs).test])
        for knobs in ({"defect_size": 0.5}, {}, {"defect_size": 2.0}, {"defect_size": 2.0, "number": 4})
    ]
    assert all(larger > 1.5 * smaller for smaller, larger in pairwise(areas))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("knob", ["jitter", "lighting", "irregularity"])
def test_variation_knobs_move_good_pictures_the_more_the_further_they_are_turned(name, knob):
    still = {"jitter": 0.0, "lighting": 0.0, "irregularity": 0.0, "noise": 0.0}

    def drawn(value: float) -> np.ndarray:
        return np.stack([pixels(s) for s in Toybox(name, train=6, size=64, **still | {knob: value}).train])

    near, far = (np.abs(drawn(value) - drawn(0.0)).mean() for value in (0.1, 3.0))
    assert 0 < near < far


def test_the_noise_knob_is_the_sensors_standard_deviation():
    quiet, loud = (Toybox("board", train=1, size=256, noise=value).train[0] for value in (0.0, 4.0))
    assert np.std(pixels(loud) - pixels(quiet)) == pytest.approx(4 * 0.012 * 255, rel=0.05)


def test_mislabelled_pictures_look_defective_and_are_labelled_good():
    category = Toybox("washer", train=20, size=64, mislabelled=0.25)
    wrong = [sample for sample in category.train if sample.truth != GOOD]
    assert len(wrong) == 5 and {sample.defect for sample in category.train} == {GOOD}
    assert all(sample.flaws() and not sample.load_mask().any() for sample in wrong)
    assert {s.truth for s in wrong} == set(category.defects)
    more = Toybox("washer", train=20, size=64, mislabelled=0.5).train
    assert all(more[i].truth == s.truth for i, s in enumerate(category.train) if s.truth != GOOD)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "knob", "values"), [("washer", "contrast", (0.1, 0.3, 1.0)), ("gravel", "defect_size", (0.5, 1.0, 2.0))]
)
def test_turning_a_difficulty_knob_moves_the_image_auroc_one_way(name, knob, values):
    found = []
    for value in values:
        category = Toybox(name, train=30, good=20, defective=30, **{knob: value})
        detector = pclib.PatchCore(coreset=0.05).fit(category.train)
        found.append(pclib.evaluate(detector.score(category.test)))
    aurocs = [each.image_auroc for each in found]
    assert aurocs == sorted(aurocs), aurocs
    assert found[0].image_auroc_interval[1] < found[-1].image_auroc, "so far apart that it is no accident"


# ---- kept on disk


def test_a_cached_picture_is_read_back_and_a_broken_one_drawn_again(tmp_path):
    plain, cached = (Toybox("coins", size=64, cache=cache).test[-1] for cache in (None, tmp_path / "cache"))
    assert not (tmp_path / "cache").exists(), "nothing is written before a picture is asked for"
    first = np.asarray(cached.load())
    (file,) = (tmp_path / "cache").iterdir()
    for _ in range(2):
        assert np.array_equal(cached.load(), plain.load()) and np.array_equal(first, plain.load())
        assert np.array_equal(cached.load_mask(), plain.load_mask())
        file.write_bytes(file.read_bytes()[:100])
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_cache_is_really_read_and_keeps_different_pictures_apart(tmp_path):
    sample = Toybox("washer", size=64, cache=tmp_path).test[-1]
    sample.load()
    (file,) = tmp_path.iterdir()
    Image.new("RGBA", (64, 64), (1, 2, 3, 255)).save(file)
    assert np.array_equal(np.unique(pixels(sample).reshape(-1, 3), axis=0), [[1, 2, 3]])
    assert pixels(Toybox("washer", size=64, cache=tmp_path, contrast=0.5).test[-1]).std() > 5
    assert len(list(tmp_path.iterdir())) == 2


# ---- bad requests


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "bottle"}, "no embedded category 'bottle'; there is "),
        ({"name": "weav"}, "no embedded category 'weav'; there is weave, "),
        ({"contras": 0.5}, "no knob 'contras'; there is contrast, "),
        ({"contrast": 0.0}, "contrast must be a number from 0.05 to 1, got 0.0"),
        ({"contrast": float("nan")}, "contrast must be a number from 0.05 to 1, got nan"),
        ({"contrast": "full"}, "contrast must be a number from 0.05 to 1, got 'full'"),
        ({"number": 1.5}, "number must be a whole number from 1 to 6, got 1.5"),
        ({"noise": True}, "noise must be a number from 0 to 8, got True"),
        ({"size": 32}, "size must be a whole number of at least 64, got 32"),
        ({"train": 0}, "train must be a whole number of at least 1, got 0"),
        ({"good": -1}, "good must be a whole number of at least 0, got -1"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_bad_requests_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Toybox(**{"name": "washer", **options})


def test_a_toybox_says_what_was_turned():
    assert repr(Toybox("washer", contrast=0.5, seed=3)).startswith(
        "Toybox('washer', contrast=0.5, seed=3: 60 to train on"
    )


def test_coverage_is_half_on_the_edge_and_full_inside():
    distance = np.array([[-0.1, 0.0, 0.1]])
    assert np.array_equal(coverage(distance, size=100), [[1, 0.5, 0]])


def test_the_toybox_needs_no_torch():
    code = "import sys, pclib.toybox as t; t.Toybox('grass', size=64).train[0].load(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
