"""What SPADE, PaDiM, MahalanobisAD and OCSVM share: fit, score, save and load, and what they refuse."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pclib import _bankfile, evaluate, extraction
from pclib.backbones import Backbone, load_backbone
from pclib.detector import Detector
from pclib.framing import Framing
from pclib.methods import OCSVM, SPADE, MahalanobisAD, PaDiM, _method, mahalanobis, padim
from pclib.metrics import auroc
from pclib.patchcore import PatchCore
from pclib.samples import Sample
from pclib.scoring import AnomalyMaps, anomaly_map
from pclib.toybox import Toybox

from .conftest import SMALL

METHODS = {"PaDiM": PaDiM, "SPADE": SPADE, "MahalanobisAD": MahalanobisAD, "OCSVM": OCSVM}
OWN = {PaDiM: {"channels": 8}, SPADE: {"neighbors": 3}, MahalanobisAD: {}, OCSVM: {}}
TINY = {"resize": None, "crop": 32}
MAPLESS = "undefined: this method gives no anomaly maps"
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


class Three(nn.Module):
    """Three convolutions of stride 2, the first of them linear: grids of 16, 8 and 4 places, 18 channels together."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1)

    def forward(self, x):
        return self.c(self.b(self.a(x).relu()).relu())


def own(seed=0, layers=("a", "b", "c"), **options) -> Backbone:
    """A backbone of one's own, small enough to be made anew for each test."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Backbone(Three(), layers, name="own", **options)


@dataclass(frozen=True, eq=False)
class Still(Sample):
    """A picture held in memory."""

    pixels: np.ndarray

    def load(self) -> Image.Image:
        return Image.fromarray(self.pixels)


def still(n, size=32, seed=0) -> list[Still]:
    """Good pictures of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return [Still(f"{i:02}", "good", square) for i, square in enumerate(pixels)]


class Broken(Still):
    def load(self) -> Image.Image:
        raise OSError("image file is truncated")


def broken(name: str) -> Broken:
    return Broken(name, "good", np.zeros((0, 0, 3), np.uint8))


def make(method, backbone=None, **changes):
    return method(backbone or own(), **TINY, **OWN[method] | changes)


def same(one, other) -> bool:
    """Two results, bit for bit."""
    maps = [None if found.maps is None else found.maps[:].tobytes() for found in (one, other)]
    return np.array_equal(one.image, other.image) and maps[0] == maps[1]


# With the embedded backbone


@pytest.fixture(scope="module")
def small_washers():
    return Toybox("washer", train=12, good=2, defective=3, size=72)


@pytest.fixture(scope="module", params=METHODS.values(), ids=METHODS)
def detector(request, small_washers):
    return request.param(resize=72, crop=72, **OWN[request.param]).fit(small_washers.train)


def test_a_saved_detector_scores_exactly_as_before(detector, small_washers, tmp_path):
    detector.save(tmp_path / "learned.safetensors")
    loaded = type(detector).load(tmp_path / "learned.safetensors")
    assert same(loaded.score(small_washers.test), detector.score(small_washers.test))
    assert loaded.trained_on == detector.trained_on and len(loaded.trained_on) == 12
    assert (loaded.parameters, loaded.framing) == (detector.parameters, detector.framing)
    assert repr(loaded) == repr(detector)


@pytest.mark.parametrize("otherwise", [{"weights": "random"}, {"precision": "bfloat16"}])
def test_a_file_of_another_backbone_is_refused(detector, tmp_path, otherwise):
    detector.save(tmp_path / "learned.safetensors")
    other = load_backbone("tf_efficientnet_lite0", detector.backbone.layers, **otherwise)
    with pytest.raises(ValueError, match=f"in float32, but .* in {other.precision}; distances between the two mean"):
        type(detector).load(tmp_path / "learned.safetensors", backbone=other)


def test_scores_are_what_every_detector_gives(detector, small_washers):
    found = detector.score(small_washers.test)
    assert found.image.shape == (5,) and found.image.dtype == np.float32 and np.isfinite(found.image).all()
    assert found.samples == list(small_washers.test) and found.framing == Framing(72, 72)
    if type(detector) in (PaDiM, SPADE):
        assert isinstance(found.maps, AnomalyMaps) and found.maps.shape == found.pixel.shape == (5, 72, 72)
        assert found.pixel.dtype == np.float32 and found.pixel.min() >= 0
    else:
        assert found.maps is None and found.pixel is None


def test_methods_without_maps_have_no_pixel_metrics_and_say_why(detector, small_washers):
    found = evaluate(detector.score(small_washers.test), replicates=10)
    values = (found.pixel_auroc, found.pixel_auroc_interval, found.pro, found.pro_interval)
    assert found.image_auroc is not None and (found.n_good, found.n_anomalous) == (2, 3)
    if type(detector) in (PaDiM, SPADE):
        assert None not in values and found.notes == {}
    else:
        assert values == (None,) * 4 and found.n_regions is None
        assert found.notes == {"pixel AUROC": MAPLESS, "PRO": MAPLESS} and MAPLESS in repr(found)


def test_one_picture_scores_the_same_alone_as_among_others(detector, small_washers):
    alone, among = detector.score(small_washers.test[3:4]), detector.score(small_washers.test)
    np.testing.assert_allclose(alone.image[0], among.image[3], rtol=1e-4, atol=1e-6)
    if alone.maps is not None:
        np.testing.assert_allclose(alone.pixel[0], among.pixel[3], rtol=1e-3)


def test_a_detector_says_what_it_is(detector):
    said = repr(detector)
    assert said.startswith(f"{type(detector).__name__}(Backbone('tf_efficientnet_lite0', layers=[")
    assert said.endswith("; fitted on 12 pictures)")
    for name, value in detector.parameters.items():
        assert f"{name}={value!r}" in said
    assert repr(make(type(detector))).endswith("; not fitted)")


@pytest.mark.slow
def test_defects_score_higher_than_pixels_tell():
    """AUROC of images, beside the squared distance of their pixels to those of the mean training picture."""
    category = Toybox("washer", train=40, good=30, defective=30, size=128)
    framing, labels = Framing(**SMALL), [sample.label for sample in category.test]
    train, test = (
        np.stack([np.asarray(framing.image(sample.load()), float) for sample in samples])
        for samples in (category.train, category.test)
    )
    baseline = auroc(labels, np.square(test - train.mean(0)).mean((1, 2, 3)))
    found = {}
    for method in METHODS.values():
        options = {"neighbors": 5} if method is SPADE else {}
        found[method] = auroc(labels, method(**SMALL, **options).fit(category.train).score(category.test).image)
    assert min(found.values()) > baseline, found
    assert found[PaDiM] > 0.9, found


def test_the_layers_of_a_method_are_those_of_the_family(monkeypatch):
    """Names as the networks have them, whatever weights they hold."""

    def named(name, layers, **options):
        stand_in = "tf_efficientnet_lite0" if "efficientnet" in name else "resnet18"
        return load_backbone(stand_in, layers, weights="random")

    monkeypatch.setattr(extraction, "load_backbone", named)
    for method in METHODS.values():
        for name, family in (("wide_resnet50_2", "resnet"), ("timm/efficientnet_b4", "efficientnet")):
            found = method(name, **TINY, **{"channels": 8} if method is PaDiM else {})
            assert found.backbone.layers == method.levels[family] and list(found.shapes) == list(method.levels[family])
        assert method(name, layers=["bn1", "blocks.1"], **TINY, **OWN[method]).backbone.layers == ("bn1", "blocks.1")


# With a backbone of one's own


@each_method
def test_methods_are_detectors(method):
    for name, promised in vars(Detector).items():
        if not name.startswith("_"):
            taken = inspect.signature(getattr(method, name)).parameters
            wanted = list(inspect.signature(getattr(Detector, name)).parameters)
            assert wanted == [n for n, p in taken.items() if p.default is p.empty], (name, promised)
    assert method.kind in {"padim", "spade", "mahalanobis", "ocsvm"}
    fresh = make(method)
    assert fresh.fit(still(5)) is fresh


@each_method
def test_a_backbone_of_ones_own_serves_and_must_be_given_again(method, tmp_path):
    detector = make(method).fit(still(6))
    detector.save(tmp_path / "learned.safetensors")
    assert same(
        method.load(tmp_path / "learned.safetensors", backbone=own()).score(still(3, seed=1)),
        detector.score(still(3, seed=1)),
    )
    with pytest.raises(ValueError, match="If it was a network of your own, give it: backbone="):
        method.load(tmp_path / "learned.safetensors")
    with pytest.raises(ValueError, match="layers, device and precision were chosen when the backbone was made"):
        make(method, layers=["a", "b"])


@each_method
def test_files_that_cannot_be_trusted_are_refused(method, tmp_path):
    path, detector = tmp_path / "learned.safetensors", make(method).fit(still(6))
    detector.save(path)
    whole = path.read_bytes()
    for other in {*METHODS.values(), PatchCore} - {method}:
        with pytest.raises(ValueError, match=f"a bank of {method.kind}, not of {getattr(other, 'kind', 'patchcore')}"):
            other.load(path, backbone=own())
    path.write_bytes(whole[:-7])
    with pytest.raises(ValueError, match="truncated, or not a bank file"):
        method.load(path, backbone=own())
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="damaged or altered, its contents do not match their hash"):
        method.load(path, backbone=own())
    path.write_bytes(whole.replace(b'\\"crop\\": 32', b'\\"crop\\": 31'))
    assert path.read_bytes() != whole
    with pytest.raises(ValueError, match="damaged or altered"):
        method.load(path, backbone=own())
    with pytest.raises(FileNotFoundError, match="no such bank file"):
        method.load(tmp_path / "absent.safetensors")


@each_method
def test_the_same_weights_read_at_other_layers_are_refused(method, tmp_path):
    make(method).fit(still(6)).save(tmp_path / "learned.safetensors")
    with pytest.raises(ValueError, match=r"layers \['a', 'b', 'c'\].* layers \['b', 'c'\]"):
        method.load(tmp_path / "learned.safetensors", backbone=own(layers=["b", "c"]))


@each_method
def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(method, tmp_path, monkeypatch):
    path, detector = tmp_path / "learned.safetensors", make(method).fit(still(6))
    detector.save(path)
    whole = path.read_bytes()

    def interrupted(_, partial, **__):
        partial.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(_bankfile, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        detector.save(path)
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]


@each_method
def test_before_fit_there_is_nothing_to_score_by_or_to_save(method, tmp_path):
    fresh = make(method)
    said = rf"{method.__name__} has learned nothing yet; call fit\(category\.train\) or {method.__name__}\.load\(path\)"
    for attempt in (
        lambda: fresh.score([broken("not even read")]),
        lambda: fresh.save(tmp_path / "learned.safetensors"),
    ):
        with pytest.raises(RuntimeError, match=said):
            attempt()
    assert not list(tmp_path.iterdir()) and fresh.learned is None and fresh.trained_on == {}


@each_method
def test_bad_samples_are_refused_before_the_work_starts(method, monkeypatch):
    fresh, good = make(method), still(6)
    fresh.backbone.network = None  # whoever computes features fails
    category = Toybox("washer", train=2, good=1, defective=1, size=64)
    for attempt in (fresh.fit, make(method).fit(good).score):
        with pytest.raises(TypeError, match=r"give samples, not the category: fit\(category\.train\)"):
            attempt(category)
        with pytest.raises(ValueError, match="no samples given"):
            attempt([])
        with pytest.raises(ValueError, match="more than one is called 03"):
            attempt([*good, good[3]])
        with pytest.raises(ValueError, match=r"1 of 7 pictures cannot be used: 77: image file is truncated.*skip_bad="):
            attempt([*good, broken("77")])
        with pytest.raises(ValueError, match="24 x 24 pixels is smaller than the crop of 32"):
            attempt([*good, Still("small", "good", np.zeros((24, 24, 3), np.uint8))])
    with pytest.raises(ValueError, match="1 good picture to learn from cannot show how good ones vary"):
        fresh.fit(good[:1])
    with pytest.raises(ValueError, match="fit learns from good samples only, but 99 are not"):
        fresh.fit([*good, Still("99", "scratch", good[0].pixels)])
    assert fresh.learned is None


@each_method
def test_bad_pictures_are_left_out_when_that_is_asked_for(method):
    good, new = still(6), still(3, seed=1)
    with pytest.warns(UserWarning, match="skipped 77: image file is truncated"):
        detector = make(method).fit([*good[:3], broken("77"), *good[3:]], skip_bad=True)
    assert list(detector.trained_on) == [sample.name for sample in good]
    with pytest.warns(UserWarning, match="skipped 88"):
        found = detector.score([broken("88"), *new], skip_bad=True)
    assert found.samples == new and same(found, make(method).fit(good).score(new))


def test_too_few_pictures_left_are_refused_too():
    bad = [broken(str(i)) for i in range(3)]
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="2 good pictures are fewer than neighbors=3"):
        make(SPADE).fit([*still(2), *bad], skip_bad=True)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="2 good pictures are too few to tell how much"):
        make(MahalanobisAD).fit([*still(2), *bad], skip_bad=True)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="1 good picture to learn from"):
        make(OCSVM).fit([*still(1), *bad], skip_bad=True)


class Root(nn.Module):
    """Not a number where a picture is nearly black."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Identity(), nn.AvgPool2d(2)

    def forward(self, x):
        return self.b(self.a((x + 2).sqrt()))


@each_method
def test_features_that_are_not_finite_are_refused_with_the_pictures_name(method):
    bright = [Still(s.name, "good", s.pixels // 2 + 100) for s in still(7)]
    black = Still("black", "good", np.zeros((32, 32, 3), np.uint8))
    backbone = Backbone(Root(), ["a", "b"], name="root")
    options = {PaDiM: {"channels": 3}, SPADE: {"neighbors": 2}}.get(method, {})
    detector = method(backbone, **TINY, **options).fit(bright)
    for attempt in (detector.fit, detector.score):
        with pytest.raises(ValueError, match=r"^black: its features hold NaN or infinity"):
            attempt([*bright[:5], black, *bright[5:]])
    assert len(detector.trained_on) == 7


@each_method
def test_an_interrupted_fit_leaves_the_detector_as_it_was(method):
    def interrupted(items, *, desc="", **_):
        if desc == "features":
            list(items)[1]  # after something was done
            raise KeyboardInterrupt
        return items

    fresh, fitted = make(method), make(method).fit(still(6))
    before = fitted.score(still(3, seed=1))
    for detector in (fresh, fitted):
        with pytest.raises(KeyboardInterrupt):
            detector.fit(still(8, seed=2), progress=interrupted)
    assert fresh.learned is None and fresh.trained_on == {}
    assert len(fitted.trained_on) == 6 and same(fitted.score(still(3, seed=1)), before)


@each_method
def test_fitting_again_forgets_what_was_learned_before(method):
    again = make(method).fit(still(5, seed=2)).fit(still(6))
    assert len(again.trained_on) == 6
    assert same(again.score(still(3, seed=1)), make(method).fit(still(6)).score(still(3, seed=1)))


@each_method
def test_progress_is_called_like_tqdm_at_every_stage(method):
    seen = []

    def progress(items, *, total=None, desc="", unit=""):
        seen.append(desc)
        return items

    make(method).fit(still(4), progress=progress).score(still(2), progress=progress)
    assert seen == ["reading", "features", "reading", "scoring"]
    if method is MahalanobisAD:
        make(method, augmentation=2).fit(still(40), progress=progress)
        assert seen[4:] == ["reading", "features", "altered 1/2", "altered 2/2"]


@each_method
def test_numbers_from_numpy_serve_as_well_as_pythons(method, tmp_path):
    changes = {
        PaDiM: {"channels": np.int64(5), "epsilon": np.float32(0.5), "seed": np.int64(3)},
        SPADE: {"neighbors": np.int64(2), "patches": np.int32(3), "squared": np.True_},
        MahalanobisAD: {"npca": np.float32(0.5), "augmentation": np.int64(2), "seed": np.uint8(3)},
        OCSVM: {"nu": np.float32(0.5)},
    }[method]
    detector = make(method, **changes).fit(still(6))
    detector.save(tmp_path / "learned.safetensors")
    loaded = method.load(tmp_path / "learned.safetensors", backbone=own())
    assert loaded.parameters == changes and repr(loaded) == repr(detector)
    assert same(loaded.score(still(2, seed=1)), detector.score(still(2, seed=1)))


@each_method
def test_lower_precision_of_the_backbone_scores_nearly_the_same(method):
    exact, rough = (make(method, own(precision=p)).fit(still(20)) for p in ("float32", "bfloat16"))
    exact, rough = (detector.score(still(4, seed=1)).image for detector in (exact, rough))
    np.testing.assert_allclose(rough, exact, rtol=0.1, atol=0.05)
    assert not np.array_equal(rough, exact)


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        (PaDiM, {"channels": 19}, "channels=19, but a, b, c have 18: give fewer"),
        (PaDiM, {"channels": 0}, "channels must be a whole number of at least 1, got 0"),
        (PaDiM, {"channels": 1.5}, "channels must be a whole number of at least 1, got 1.5"),
        (PaDiM, {"epsilon": -0.01}, "epsilon must be a number of at least 0, got -0.01"),
        (PaDiM, {"epsilon": float("nan")}, "epsilon must be a number of at least 0, got nan"),
        (PaDiM, {"epsilon": float("inf")}, "epsilon must be a number of at least 0, got inf"),
        (PaDiM, {"epsilon": "0.01"}, "epsilon must be a number of at least 0, got '0.01'"),
        (PaDiM, {"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        (SPADE, {"neighbors": 0}, "neighbors must be a whole number of at least 1, got 0"),
        (SPADE, {"patches": 0}, "patches must be a whole number of at least 1, got 0"),
        (MahalanobisAD, {"npca": 0}, r"npca, a share of variance or None, must lie in \(0, 1\), got 0; for 10 %"),
        (MahalanobisAD, {"npca": 1}, r"npca, a share .* got 1"),
        (MahalanobisAD, {"npca": -0.1}, r"npca, a share .* got -0.1"),
        (MahalanobisAD, {"npca": float("nan")}, r"npca, a share .* got nan"),
        (MahalanobisAD, {"npca": "1 %"}, r"npca, a share .* got '1 %'"),
        (MahalanobisAD, {"augmentation": -1}, "augmentation must be a whole number of at least 0, got -1"),
        (MahalanobisAD, {"augmentation": 0.5}, "augmentation must be a whole number of at least 0, got 0.5"),
        (MahalanobisAD, {"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        (OCSVM, {"nu": 0}, r"nu must lie in \(0, 1\], got 0; for 10 % write 0.1"),
        (OCSVM, {"nu": 1.01}, r"nu must lie in \(0, 1\], got 1.01"),
        (OCSVM, {"nu": "x"}, r"nu must lie in \(0, 1\], got 'x'"),
        (OCSVM, {"nu": float("nan")}, r"nu must lie in \(0, 1\], got nan"),
    ],
)
def test_bad_settings_are_refused_at_once(method, settings, said):
    with pytest.raises(ValueError, match=said):
        make(method, **settings)


@each_method
def test_misspelt_settings_and_frames_that_do_not_fit_are_refused_at_once(method):
    with pytest.raises(TypeError, match="unexpected keyword argument 'neighbours'"):
        method(own(), neighbours=3)
    with pytest.raises(ValueError, match="resize must be at least crop, got resize=16, crop=32"):
        method(own(), resize=16, crop=32)
    with pytest.raises(ValueError, match="layers must go from shallow to deep"):
        method(own(layers=["c", "a"]))


def test_spade_needs_pictures_and_patches_enough():
    with pytest.raises(ValueError, match="SPADE needs layers to compare and one to average, got only c"):
        SPADE(own(layers=["c"]), **TINY)
    with pytest.raises(ValueError, match="6 good pictures are fewer than neighbors=7: give more, or lower it"):
        SPADE(own(), **TINY, neighbors=7).fit(still(6))
    with pytest.raises(
        ValueError, match=r"patches=129, but neighbors=2 pictures have 128 in their smallest map: lower"
    ):
        SPADE(own(), **TINY, neighbors=2, patches=129).fit(still(6))
    SPADE(own(), **TINY, neighbors=2, patches=128).fit(still(6)).score(still(1))


# Degenerate pictures


def test_padim_needs_more_pictures_than_channels_only_without_epsilon():
    few = make(PaDiM, epsilon=0)
    few.backbone.network = None  # whoever computes features fails
    with pytest.raises(ValueError, match="8 pictures leave the covariance of 8 channels singular: give more than 8"):
        few.fit(still(8))
    assert np.isfinite(make(PaDiM, epsilon=0).fit(still(9)).score(still(2, seed=1)).image).all()
    assert np.isfinite(make(PaDiM, epsilon=1e-4).fit(still(2)).score(still(2, seed=1)).image).all()


def test_mahalanobis_shrinks_fewer_pictures_than_channels():
    with pytest.raises(ValueError, match=r"2 good pictures are too few .* give 3, or learn from altered copies"):
        make(MahalanobisAD).fit(still(2))
    assert np.isfinite(make(MahalanobisAD).fit(still(3)).score(still(2, seed=1)).image).all()
    assert np.isfinite(make(MahalanobisAD, augmentation=4).fit(still(2)).score(still(2, seed=1)).image).all()


def test_two_pictures_are_enough_for_the_others():
    for method, settings in ((PaDiM, {}), (SPADE, {"neighbors": 2}), (OCSVM, {})):
        assert np.isfinite(make(method, **settings).fit(still(2)).score(still(2, seed=1)).image).all()


def test_a_singular_covariance_is_refused_with_its_place():
    pictures = still(12)
    for sample in pictures:
        sample.pixels[24:, 8:16] = 200  # seen alone from place (13, 5) on: beyond those that are factored first
    detector = PaDiM(own(layers=["a"]), **TINY, channels=None, epsilon=0)
    assert padim.PLACES <= 13 * 16 + 5
    with pytest.raises(ValueError, match=r"at place \(13, 5\) is singular with epsilon=0: .*give a larger epsilon"):
        detector.fit(pictures)
    assert detector.learned is None
    assert PaDiM(own(layers=["a"]), **TINY, channels=None).fit(pictures).score(pictures).image.max() < 12


def test_a_channel_that_follows_from_others_is_refused_without_epsilon():
    covariance = torch.cov(torch.randn(4, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    follows = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0]], dtype=torch.float64)
    both = torch.stack([covariance, follows @ covariance @ follows.T])
    detector = make(PaDiM, epsilon=0)
    with pytest.raises(ValueError, match=r"at place \(1, 2\) is singular with epsilon=0: .*follow from others"):
        detector._factored(both, 17)
    assert make(PaDiM, epsilon=1e-6)._factored(both, 17).isfinite().all()


def test_pictures_that_are_all_the_same():
    """Any distance is then known to be none, but nothing about how good pictures vary."""
    copies = [Still(str(i), "good", still(1)[0].pixels) for i in range(4)]
    for method in (PaDiM, SPADE):
        detector = make(method).fit(copies)
        found = detector.score([*copies, *still(1, seed=1)])
        assert np.all(found.image[:4] < 1e-3) and np.all(found.pixel[:4] < 1e-3) and found.image[4] > 0.01
    for npca in (None, 0.01):
        with pytest.raises(ValueError, match=r"^a: all 4 pictures have the same features.*give pictures that differ"):
            make(MahalanobisAD, npca=npca).fit(copies)
    with pytest.raises(ValueError, match=r"^all 4 pictures have the same features.*give pictures that differ"):
        make(OCSVM).fit(copies)


def test_a_level_that_never_varies_is_named():
    with pytest.raises(ValueError, match=r"^stem: all 5 pictures have the same features"):
        mahalanobis.gaussian(np.ones((5, 3)), "stem")
    with pytest.raises(ValueError, match=r"^stem: all 4 pictures have .* those of only two"):
        mahalanobis.gaussian(np.eye(3)[[0, 0, 1, 1]], "stem")


@pytest.mark.parametrize(
    ("method", "what_to_do"),
    [
        (PaDiM, "keep fewer channels="),
        (SPADE, "give fewer pictures, a smaller crop="),
        (MahalanobisAD, "give fewer pictures, a smaller augmentation="),
        (OCSVM, "give fewer pictures, or fewer layers="),
    ],
)
def test_what_memory_cannot_hold_is_refused_first(method, what_to_do, monkeypatch):
    monkeypatch.setattr(_method, "available_memory", lambda *_: 1000)
    said = rf"^{method.__name__} needs 0\.0 GiB to learn from 6 pictures, and 0\.0 GiB are available: {what_to_do}"
    fresh = make(method)
    fresh.backbone.network = None  # whoever computes features fails
    with pytest.raises(MemoryError, match=said):
        fresh.fit([*still(5), broken("77")])
    assert fresh.learned is None


@each_method
def test_memory_that_is_asked_for_covers_what_is_kept(method):
    """And grows with the pictures where they are kept."""
    detector = make(method).fit(still(6))
    kept = sum(values.nbytes for values in detector.learned.values())
    assert kept <= detector.memory(6)
    assert (detector.memory(60) > detector.memory(6)) == (method is not PaDiM)


def test_maps_of_several_grids_are_the_mean_of_each_ones_map():
    rng = np.random.default_rng(0)
    grids = [rng.random((4, *grid), dtype="f4") for grid in ((16, 16), (8, 9), (5, 3))]
    maps = AnomalyMaps(grids, (40, 36), 2.0)
    whole = np.mean([anomaly_map(grid, (40, 36), 2.0) for grid in grids], axis=0)
    assert maps.shape == whole.shape == (4, 40, 36) and len(maps) == 4
    np.testing.assert_allclose(np.asarray(maps), whole, rtol=1e-5)
    np.testing.assert_allclose(np.stack(list(maps)), whole, rtol=1e-5)
    mask = whole > whole.mean()
    for key in (0, -1, np.int64(2), slice(1, 3), [0, 2], (2, 5), (slice(None), 3), (0, 1, 2), mask):
        np.testing.assert_allclose(maps[key], whole[key], rtol=1e-5)
    assert np.array_equal(grids[0], np.random.default_rng(0).random((4, 16, 16), dtype="f4")), "left as they were"
    assert np.array_equal(AnomalyMaps(grids[:1], 40)[:], anomaly_map(grids[0], 40))
