"""Metric explorer: counts, rates and overlaps against plain NumPy, and what is said where something is not known."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label

from pclib.detector import Scores
from pclib.framing import Framing
from pclib.metrics import evaluate
from pclib.samples import GOOD, Sample
from pclib.widgets import MetricExplorer, MetricState
from pclib.widgets.state import Choose, Slide, Switch

SIDE = 32


@dataclass(frozen=True, eq=False)
class Drawn(Sample):
    """A grey picture with the mask that it is given."""

    mask: np.ndarray | None = field(default=None)

    @property
    def size(self):
        return SIDE, SIDE

    def load(self):
        return Image.new("RGB", (SIDE, SIDE), "grey")

    def load_mask(self):
        return super().load_mask() if self.mask is None else self.mask


def scored(defects, *, masks=True, maps=True, seed=0):
    """Pictures of random pixels, higher ones in the two regions of each defect, and with random scores."""
    generator, samples, scores = np.random.default_rng(seed), [], []
    pixels = generator.normal(size=(len(defects), SIDE, SIDE)).astype(np.float32)
    for i, defect in enumerate(defects):
        mask = None
        if defect not in (GOOD, None):
            mask = np.zeros((SIDE, SIDE), bool)
            mask[4:10, 4:10] = mask[20:27, 20:24] = True
            pixels[i][mask] += 2
        samples.append(Drawn(f"test/{i}", defect, mask if masks else None))
        scores.append(generator.normal() + (mask is not None))
    return Scores(np.array(scores, np.float32), pixels if maps else None, samples, Framing(None, SIDE))


MIXED = [GOOD] * 7 + ["scratch"] * 9


@pytest.fixture(scope="module")
def scores():
    return scored(MIXED)


@pytest.fixture
def state(scores):
    return MetricState(scores)


def panel(state, part):
    (found,) = (p for p in state.panels() if part in p.title)
    return found


def test_every_stop_changes_a_count_and_the_ends_count_all_or_none(state, scores):
    labels, image = np.repeat([0, 1], [7, 9]), scores.image.astype(float)
    seen = []
    for stop in state.thresholds:
        state.threshold = stop
        passed, false, found, missed = state.counts()
        alarm = image > stop
        assert (false, found) == (int((alarm & (labels == 0)).sum()), int((alarm & (labels == 1)).sum()))
        assert (passed, missed) == (7 - false, 9 - found)
        seen.append((false, found))
    assert seen[0] == (7, 9) and seen[-1] == (0, 0) and len(set(seen)) == len(state.thresholds) == 17


def test_ties_have_one_stop_and_the_default_has_the_largest_f1():
    scores = scored([GOOD, GOOD, "scratch", "scratch"])
    tied = MetricState(Scores(np.float32([1, 2, 2, 4]), scores.maps, scores.samples, scores.framing))
    assert tied.thresholds[1:-1] == [1.5, 3.0] and tied.threshold == 1.5


def test_pixel_rates_and_overlaps_are_those_of_plain_arrays(state, scores):
    masks = scores.masks()
    normal = scores.maps[~masks]
    rates = []
    for stop in state.pixel_thresholds[::7]:
        state.pixel_threshold = stop
        rates.append((normal > stop).mean())
        assert state.pixel_rate(stop) == pytest.approx(rates[-1])
        shares = []
        for mask, pixels in zip(masks, scores.maps, strict=True):
            names, count = label(mask)
            shares += [(pixels[names == k + 1] > stop).mean() for k in range(count)]
        assert state.overlaps() == pytest.approx(shares)
        found = int((np.array(shares) > 0).sum())
        assert f"{found} found, {18 - found} missed" in state.words() and f"{np.mean(shares):.2f}" in state.words()
    assert rates[0] == 1 and rates == sorted(rates, reverse=True)


def test_pixel_thresholds_go_evenly_from_all_normal_pixels_to_one_in_ten_thousand(state, scores):
    rates = np.array([state.pixel_rate(stop) for stop in state.pixel_thresholds])
    assert rates[0] == 1 and rates[-1] == pytest.approx(1e-4, abs=1 / (~scores.masks()).sum())
    steps = -np.diff(np.log(rates[rates > 5e-3]))
    assert steps.max() < 1.5 * steps.min()
    assert state.pixel_rate(state.pixel_threshold) == pytest.approx(0.01, rel=0.1), "what it begins with"


def test_words_say_the_metrics_and_with_the_switch_their_intervals(state, scores):
    judged = evaluate(scores)
    assert f"Image AUROC {judged.image_auroc:.3f}.\n" in state.words() and "interval" not in state.words()
    before = panel(state, "ROC").pixels
    state.interval = True
    for value, ends in (
        (judged.image_auroc, judged.image_auroc_interval),
        (judged.pixel_auroc, judged.pixel_auroc_interval),
        (judged.pro, judged.pro_interval),
    ):
        assert f"{value:.3f} (95 % interval {ends[0]:.3f} to {ends[1]:.3f})" in state.words()
    assert not np.array_equal(before, panel(state, "ROC").pixels)


def test_pictures_and_texts_follow_the_thresholds(state):
    titles = [p.title for p in state.panels()]
    low, high = state.pixel_thresholds[5], state.pixel_thresholds[-1]
    for picture, threshold in ((10, low), (10, high), (0, high)):
        state.picture, state.pixel_threshold = picture, threshold
        shown = panel(state, "detected hatched")
        detected = int((state.scores.maps[picture] > threshold).sum())
        assert f"{detected:,} detected pixels" in shown.alt and shown.pixels.shape == (300, 300, 3)
        assert [p.title for p in state.panels()] == titles
    assert "0 defect regions in it" in state.words()
    state.picture, state.pixel_threshold = 10, float(state.scores.maps.max())
    assert "2 defect regions in it: 0 found, 2 missed" in panel(state, "detected hatched").alt
    assert "mean overlap with the 18 defect regions 0.00" in state.words()
    state.pixel_threshold = low
    assert "to the right of what is shown" in panel(state, "PRO").alt


def test_a_region_that_is_missed_is_drawn_with_gaps(state):
    state.picture = 12
    lines = []
    for threshold in (state.pixel_thresholds[40], float(state.scores.maps.max())):
        state.pixel_threshold = threshold
        pixels = panel(state, "detected hatched").pixels.astype(int)
        lines.append(int((np.abs(pixels - (0, 194, 255)).sum(-1) < 30).sum()))
    assert lines[0] > 1.5 * lines[1] > 0


def test_pointing_and_arrow_keys_move_the_thresholds(state):
    histogram, curve, overlap = (panel(state, name) for name in ("Image scores", "ROC", "PRO"))
    histogram.point(0.99, 0.5)
    assert state.threshold == state.thresholds[-1]
    histogram.step(-1, 0)
    assert state.threshold == state.thresholds[-2]
    histogram.step(9, 0)
    curve.step(1, 0)
    assert state.threshold == state.thresholds[-2], "to the right a false alarm more, by a lower threshold"
    curve.point(0.98, 0.02)
    assert state.counts()[1::2] == (7, 0)
    curve.point(0.15, 0.85)
    assert state.counts()[1] == 0
    at = state.pixel_thresholds.index(state.pixel_threshold)
    overlap.step(0, -1)
    assert state.pixel_threshold == state.pixel_thresholds[at - 1]
    x, _ = state._pro.at(0.2, 0.5)
    overlap.point(x / 300, 0.5)
    assert state.pixel_rate(state.pixel_threshold) == pytest.approx(0.2, rel=0.15)


@pytest.mark.parametrize(
    ("trait", "value", "said"),
    [
        ("threshold", 1e9, r"threshold must lie in \[-?[\d.]+, [\d.]+\], got 1000000000.0"),
        ("threshold", float("nan"), "threshold must lie in"),
        ("pixel_threshold", -1e9, "pixel_threshold must lie in"),
        ("pixel_threshold", float("nan"), "pixel_threshold must lie in"),
        ("picture", 16, r"picture must lie in \[0, 15\], got 16"),
        ("picture", -1, "picture must lie in"),
    ],
)
def test_what_is_out_of_range_is_refused_and_changes_nothing(state, scores, trait, value, said):
    before, words = getattr(state, trait), state.words()
    with pytest.raises(ValueError, match=said):
        setattr(state, trait, value)
    assert getattr(state, trait) == before and state.words() == words
    with pytest.raises(ValueError, match=said):
        MetricState(scores, **{trait: value})


def test_arguments_reproduce_a_state_and_a_threshold_of_ones_own_becomes_a_stop(scores):
    own = float(scores.image[3]) + 0.001
    state = MetricState(scores, threshold=own, pixel_threshold=1.5, picture=9, interval=True)
    assert own in state.thresholds and state.thresholds == sorted(state.thresholds) and 1.5 in state.pixel_thresholds
    chosen = {name: getattr(state, name) for name in ("threshold", "pixel_threshold", "picture", "interval")}
    assert MetricState(scores, **chosen).words() == state.words()


@pytest.mark.parametrize("kwargs", [{"masks": False}, {"maps": False}])
def test_without_masks_or_maps_the_rest_works(kwargs):
    whole, bare = MetricState(scored(MIXED)), MetricState(scored(MIXED, **kwargs))
    assert [p.title for p in bare.panels()] == [p.title for p in whole.panels()]
    assert bare.words().splitlines()[:2] == whole.words().splitlines()[:2]
    reason = "no mask is known for test/7" if "masks" in kwargs else "this method gives no anomaly maps"
    assert reason in bare.words() and reason in panel(bare, "PRO").alt and panel(bare, "PRO").point is None
    traits = [control.trait for control in bare.controls()]
    if "masks" in kwargs:
        bare.pixel_threshold = 2.0
        assert f"{100 * (bare.scores.maps > 2).mean():.3g} % of all pixels lie above it" in bare.words()
        assert "no mask is known, so no defect is outlined" in panel(bare, "detected hatched").alt
    else:
        assert "pixel_threshold" not in traits and "no anomaly maps" in panel(bare, "anomaly map").alt
        with pytest.raises(ValueError, match="no anomaly maps, so they take no pixel_threshold"):
            bare.pixel_threshold = 1.0
    assert "img" in MetricExplorer(bare.scores).figure()._repr_html_()


@pytest.mark.parametrize(
    ("defects", "said"), [([GOOD] * 5, "5 good, 0 anomalous"), (["scratch"], "0 good, 1 anomalous")]
)
def test_one_class_only_and_a_single_picture(defects, said):
    state = MetricState(scored(defects))
    assert f"Image AUROC: undefined: one class only ({said})" in state.words()
    assert said in panel(state, "ROC").alt and len(state.thresholds) == len(defects) + 1
    for stop in state.thresholds:
        state.threshold = stop
    assert ("false alarm" in state.words()) == (defects[0] == GOOD)


def test_pictures_that_nothing_is_known_about_are_counted_apart():
    state = MetricState(scored([GOOD, GOOD, "scratch", None]))
    assert "1 picture not known to be good or defective" in state.words() and state.counts()[0] + state.counts()[1] == 2
    assert "Image AUROC: not known to be good or anomalous: test/3" in state.words()


def test_nothing_scored_is_refused(scores):
    with pytest.raises(ValueError, match="no picture was scored"):
        MetricState(Scores(np.zeros(0, np.float32), None, [], scores.framing))


def test_the_view_follows_and_leads(scores):
    explorer = MetricExplorer(scores)
    state, controls = explorer.state, explorer._controls
    assert {type(c) for c in state.controls()} == {Slide, Choose, Switch}
    state.threshold = state.thresholds[2]
    assert controls["threshold"].index == 2 and explorer._words.text == state.words()
    assert "FPR" in controls["pixel_threshold"].stops[controls["pixel_threshold"].index]
    controls["threshold"].index = 0
    assert state.counts() == (0, 7, 9, 0)
    before = explorer._pictures["Its anomaly map, on one scale for all"].data
    controls["picture"].value = 3
    controls["pixel_threshold"].index = 20
    controls["interval"].value = True
    assert (state.picture, state.pixel_threshold, state.interval) == (3, state.pixel_thresholds[20], True)
    after = explorer._pictures["Its anomaly map, on one scale for all"]
    assert after.data != before and Image.open(BytesIO(after.data)).format == "JPEG" and "picture 3" in after.alt
    with pytest.raises(ValueError, match="picture must lie"):
        state.picture = 99
    assert controls["picture"].value == 3


def test_the_figure_says_all_that_is_shown(scores):
    figure = MetricExplorer(scores, picture=8).figure()
    shown = figure._repr_html_()
    assert shown.count("alt=") == 5 and len(shown) < 300_000 and repr(figure) == figure.words
    assert "ROC curve, image AUROC" in shown and "Test picture 8, scratch" in shown
