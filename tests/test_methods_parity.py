"""SPADE, PaDiM, MahalanobisAD and OCSVM against their formulas written out plainly, scikit-learn and anomalib."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.svm import OneClassSVM

from pclib.extraction import silent
from pclib.framing import Pictures, read
from pclib.methods import OCSVM, SPADE, MahalanobisAD, PaDiM, spade
from pclib.methods.mahalanobis import altered, gaussian, least_varying, pooled
from pclib.methods.padim import Moments
from pclib.methods.spade import nearest_squared
from pclib.samples import Category
from pclib.scoring import anomaly_map
from pclib.toybox import Toybox

from .test_methods import TINY, Still, own, still

CROP = {"resize": 72, "crop": 72}  # grids of 18, 9 and 5 places: no whole ratios, and more than are factored together
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def washers() -> Category:
    return Toybox("washer", train=20, good=3, defective=5, size=72)


@pytest.fixture(scope="module")
def everything(washers) -> list:
    """More pictures than PaDiM computes distances of together."""
    return [*washers.train, *washers.test]


def maps_of(detector, samples) -> list[np.ndarray]:
    """Each layer's maps (n, c, h, w) of all samples in one go, float64."""
    framed = np.stack([np.asarray(detector.framing.image(sample.load())) for sample in samples])
    with torch.inference_mode():
        maps = detector.backbone(detector.backbone.normalised(framed))
    return [values.double().numpy() for values in maps.values()]


def side_by_side(maps: list[np.ndarray], channels: np.ndarray) -> np.ndarray:
    """All maps on the grid of the first, each place with the value that lies over it: (n, channels, h, w)."""
    size = maps[0].shape[2]
    over = [np.arange(size) * values.shape[2] // size for values in maps]
    return np.concatenate([values[:, :, rows][..., rows] for values, rows in zip(maps, over, strict=True)], 1)[
        :, channels
    ]


# PaDiM


@pytest.fixture(scope="module")
def padims(washers) -> dict:
    """Fewer channels than pictures, more, and all of them."""
    backbone = PaDiM(**CROP).backbone
    return {channels: PaDiM(backbone, **CROP, channels=channels).fit(washers.train) for channels in (8, 60, None)}


@pytest.mark.parametrize("channels", [8, 60, None])
def test_padim_is_the_mahalanobis_distance_at_each_place(padims, washers, everything, channels):
    detector, pictures = padims[channels], 20
    both = side_by_side(maps_of(detector, everything), detector.learned["channels"])
    assert both.shape[1:] == (channels or 176, 18, 18)
    expected = np.empty((len(everything), 18, 18))
    for i, j in np.ndindex(18, 18):
        good = both[:pictures, :, i, j]
        inverse = np.linalg.inv(np.cov(good, rowvar=False) + 0.01 * np.eye(good.shape[1]))
        expected[:, i, j] = [mahalanobis(x, good.mean(0), inverse) for x in both[:, :, i, j]]
    found = detector.score(everything)
    np.testing.assert_allclose(found.maps.grids[0], expected, rtol=1e-5)
    np.testing.assert_allclose(found.image, expected.max((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found.pixel, anomaly_map(expected, 72, sigma=4.0), rtol=1e-4)


def test_padim_agrees_with_anomalib(padims, washers, everything):
    """Its Gaussians, its distances and its embedding, of the same maps and channels."""
    pytest.importorskip("anomalib", reason="anomalib is not installed: pip install pclib[bench]")
    from pclib._torchvision import import_torchvision

    import_torchvision()
    from anomalib.models.components.stats import MultiVariateGaussian
    from anomalib.models.image.padim.anomaly_map import AnomalyMapGenerator
    from anomalib.models.image.padim.torch_model import PadimModel

    for channels in (8, 60):
        detector = padims[channels]
        maps = {str(i): torch.tensor(m, dtype=torch.float32) for i, m in enumerate(maps_of(detector, everything))}
        theirs = SimpleNamespace(layers=list(maps), idx=torch.tensor(detector.learned["channels"]))
        embedding = PadimModel.generate_embedding(theirs, maps)
        gaussians = MultiVariateGaussian().fit(embedding[:20].contiguous())
        expected = AnomalyMapGenerator.compute_distance(embedding, gaussians)[:, 0].numpy()
        np.testing.assert_allclose(detector.score(everything).maps.grids[0], expected, rtol=1e-3)


@given(
    seed=seeds,
    cuts=st.lists(st.integers(1, 11), max_size=4),
    offset=st.sampled_from([0.0, 1e4]),
)
def test_moments_in_portions_are_those_of_all_at_once(seed, cuts, offset):
    vectors = np.random.default_rng(seed).normal(size=(12, 3, 4)) + offset
    moments = Moments(3, 4, torch.device("cpu"))
    for portion in np.split(vectors, sorted(set(cuts))):
        moments.add(torch.tensor(portion))
    np.testing.assert_allclose(moments.mean, vectors.mean(0), rtol=1e-12, atol=1e-12)
    expected = [np.cov(vectors[:, place], rowvar=False) for place in range(3)]
    np.testing.assert_allclose(moments.covariance(), expected, rtol=1e-9, atol=1e-9)


def test_padim_has_one_gaussian_per_place_whatever_the_order_of_pictures(padims, washers):
    detector = padims[60]
    shuffled = PaDiM(detector.backbone, **CROP, channels=60).fit(washers.train[7:] + washers.train[:7])
    np.testing.assert_allclose(shuffled.score(washers.test).image, detector.score(washers.test).image, rtol=1e-5)


def test_padim_scores_the_mean_itself_zero():
    base = still(1, seed=3)[0].pixels // 2 + 50
    apart = np.random.default_rng(0).integers(-40, 40, (6, *base.shape))
    pairs = [base + sign * by for by in apart for sign in (1, -1)]  # the first layer is linear, so its mean is base's
    train = [Still(f"{i}", "good", pixels.astype(np.uint8)) for i, pixels in enumerate(pairs)]
    detector = PaDiM(own(layers=["a"]), **TINY, channels=None).fit(train)
    found = detector.score([Still("mean", None, base.astype(np.uint8)), *train])
    assert found.image[0] < 1e-3 < 1 < found.image[1:].min()


def test_padims_channels_are_drawn_by_seed():
    drawn = {seed: PaDiM(own(), **TINY, channels=9, seed=seed).kept.tolist() for seed in range(5)}
    again = PaDiM(own(), **TINY, channels=9, seed=3).kept.tolist()
    assert again == drawn[3] and len(set(map(tuple, drawn.values()))) == 5
    for channels in drawn.values():
        assert len(set(channels)) == 9 and channels == sorted(channels) and set(channels) <= set(range(18))
    assert len(set().union(*drawn.values())) > 14, "of every layer"
    assert PaDiM(own(), **TINY, channels=None).kept.tolist() == list(range(18))
    assert PaDiM(own(), **TINY, channels=18).kept.tolist() == list(range(18))


def test_padim_learns_the_channels_that_were_drawn():
    learned = PaDiM(own(), **TINY, channels=5, seed=2).fit(still(4)).learned
    assert np.array_equal(learned["channels"], PaDiM(own(), **TINY, channels=5, seed=2).kept)
    assert learned["mean"].shape == (16, 16, 5) and learned["factor"].shape == (16, 16, 5, 5)
    assert not np.triu(learned["factor"], 1).any()


def test_a_draw_of_few_channels_may_leave_layers_out():
    """The grid is that of the first layer all the same."""
    for channel, layer, size in ((1, "a", 16), (7, "b", 8), (15, "c", 4)):
        detector = next(d for d in (PaDiM(own(), **TINY, channels=1, seed=s) for s in range(999)) if d.kept == channel)
        train, new = still(6), still(2, seed=1)
        found = detector.fit(train).score(new).maps.grids[0]
        number = channel - {"a": 0, "b": 4, "c": 10}[layer]
        good, other = (maps_of(detector, samples)["abc".index(layer)][:, number] for samples in (train, new))
        expected = np.abs(other - good.mean(0)) / np.sqrt(good.var(0, ddof=1) + 0.01)
        np.testing.assert_allclose(found, expected.repeat(16 // size, 1).repeat(16 // size, 2), rtol=1e-4, atol=1e-5)


# SPADE


@pytest.mark.parametrize(
    ("neighbors", "patches", "squared"),
    [(3, 1, False), (3, 1, True), (5, 4, False), (5, 4, True), (2, 30, False), (20, 1, False)],  # 30 of twice 25
)
def test_spade_is_k_nearest_neighbours_of_pictures_and_then_of_patches(washers, neighbors, patches, squared):
    detector = SPADE(**CROP, neighbors=neighbors, patches=patches, squared=squared).fit(washers.train)
    (*good, images), (*new, queries) = maps_of(detector, washers.train), maps_of(detector, washers.test)
    images, queries = images.mean((2, 3)), queries.mean((2, 3))
    distances, alike = NearestNeighbors(n_neighbors=neighbors).fit(images).kneighbors(queries)
    found = detector.score(washers.test)
    np.testing.assert_allclose(found.image, (distances**2 if squared else distances).mean(1), rtol=1e-4)

    maps = np.zeros((len(washers.test), 72, 72))
    for level, (gallery, patch) in enumerate(zip(good, new, strict=True)):
        rows, columns = patch.shape[2:]
        grid = np.empty((len(patch), rows, columns))
        for i, near in enumerate(alike):
            theirs = np.moveaxis(gallery[near], 1, 3).reshape(-1, gallery.shape[1])
            apart = cdist(np.moveaxis(patch[i], 0, 2).reshape(-1, patch.shape[1]), theirs)
            apart = np.sort(apart**2 if squared else apart, axis=1)[:, :patches]
            grid[i] = apart.mean(1).reshape(rows, columns)
        np.testing.assert_allclose(found.maps.grids[level], grid, rtol=1e-4, atol=1e-4)
        maps += anomaly_map(grid, 72, sigma=4.0) / len(good)
    np.testing.assert_allclose(found.pixel, maps, rtol=1e-4)


def test_spade_finds_nothing_in_a_picture_that_it_knows(washers):
    detector = SPADE(**CROP, neighbors=1).fit(washers.train)
    found = detector.score(washers.train[:6])
    assert np.all(found.image < 1e-3) and np.all(found.pixel < 1e-3)
    assert detector.score(washers.test).image.min() > 1


def test_the_order_of_spades_gallery_does_not_matter(washers):
    one = SPADE(**CROP, neighbors=4, patches=2).fit(washers.train)
    other = SPADE(one.backbone, **CROP, neighbors=4, patches=2).fit(washers.train[::-1])
    for a, b in zip(*(detector.score(washers.test).maps.grids for detector in (one, other)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one.score(washers.test).image, other.score(washers.test).image, rtol=1e-5)


@given(
    seed=seeds,
    pictures=st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True),
    k=st.integers(1, 7),  # of 4 places in one picture
    portion=st.integers(1, 9),
    offset=st.sampled_from([0.0, 10.0]),
)
def test_nearest_patches_are_those_of_all_pairs(seed, pictures, k, portion, offset):
    rng = np.random.default_rng(seed)
    gallery, queries = (rng.normal(size=shape).astype("f4") + np.float32(offset) for shape in ((6, 4, 3), (8, 3)))
    gallery[3] = gallery[1]  # a picture twice
    gallery[2, 1:] = gallery[2, 0]  # a patch four times
    queries[0], queries[1] = gallery[2, 0], gallery[pictures[-1], 3]
    k = min(k, 4 * len(pictures))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spade, "QUERIES", portion)
        found = nearest_squared(torch.tensor(queries), torch.tensor(gallery), pictures, k).numpy()
    among = gallery[pictures].reshape(-1, 3).astype(float)
    expected = np.sort(cdist(queries.astype(float), among, "sqeuclidean"), axis=1)[:, :k]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9 if offset == 0 else 1e-3)
    assert found[1, 0] == 0, "a patch of the gallery lies at zero"


# MahalanobisAD


@pytest.fixture(scope="module")
def levels(washers) -> tuple:
    """A detector, and the pooled features that it sees of training and test pictures."""
    detector = MahalanobisAD(**CROP).fit(washers.train)
    train, test = (
        pooled(detector.backbone, read(samples, detector.framing), "", silent)
        for samples in (washers.train, washers.test)
    )
    return detector, train, test


def test_features_are_the_means_of_maps(levels, washers):
    detector, train, _ = levels
    for found, maps in zip(train, maps_of(detector, washers.train), strict=True):
        np.testing.assert_allclose(found, maps.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_mahalanobis_distances_are_scikit_learns_at_every_level(levels, washers):
    detector, train, test = levels
    found = detector.distances(read(washers.test, detector.framing), silent)
    assert found.shape == (8, 9)
    for level, (good, new) in enumerate(zip(train, test, strict=True)):
        expected = np.sqrt(LedoitWolf().fit(good).mahalanobis(new))
        np.testing.assert_allclose(found[:, level], expected, rtol=1e-6)
    np.testing.assert_allclose(detector.score(washers.test).image, found.sum(1), rtol=1e-6)


def distances(vectors: np.ndarray, new: np.ndarray, npca: float | None = None) -> np.ndarray:
    """Through `gaussian`: distances of new vectors, by an inverse."""
    learned = gaussian(vectors, "level", npca)
    centred = new - learned["mean"]
    if npca is not None:
        centred = centred @ learned["directions"].T
    return np.linalg.norm(np.linalg.inv(learned["factor"]) @ centred.T, axis=0)


def cloud(seed: int, n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ (rng.normal(size=(d, d)) * 2.0 ** -np.arange(d)) + rng.normal(size=d) * 10


@given(seed=seeds, n=st.integers(3, 30), d=st.integers(1, 12), scale=st.sampled_from([1e-3, 1.0, 1e4]))
def test_shrinkage_is_scikit_learns_for_any_number_of_vectors(seed, n, d, scale):
    vectors, new = np.split(cloud(seed, n + 4, d) * scale, [n])
    np.testing.assert_allclose(distances(vectors, new), np.sqrt(LedoitWolf().fit(vectors).mahalanobis(new)), rtol=1e-6)


@given(seed=seeds, npca=st.sampled_from([None, 0.05]))
def test_adding_a_constant_to_every_feature_changes_nothing(seed, npca):
    vectors, new = np.split(cloud(seed, 24, 6), [20])
    by = np.random.default_rng(seed).normal(size=6) * 100
    np.testing.assert_allclose(distances(vectors + by, new + by, npca), distances(vectors, new, npca), rtol=1e-6)


def least(vectors: np.ndarray, share: float) -> np.ndarray:
    """Components of scikit-learn's PCA, from the one before that which completes 1 - share of the variance."""
    pca = PCA(svd_solver="full").fit(vectors)
    completes = next(i for i in range(len(pca.components_)) if pca.explained_variance_ratio_[i + 1 :].sum() < share)
    return pca.components_[max(0, completes - 1) :]


@given(seed=seeds, share=st.sampled_from([1e-4, 0.01, 0.1, 0.5, 0.9]))
def test_least_varying_directions_are_principal_components(seed, share):
    vectors, new = np.split(cloud(seed, 29, 8), [25])
    expected, centred = least(vectors, share), vectors - vectors.mean(0)
    found = least_varying(centred, share)
    assert found.shape == expected.shape
    np.testing.assert_allclose(np.abs((found * expected).sum(1)), 1, rtol=1e-6)  # but for their signs
    in_subspace = LedoitWolf().fit(centred @ expected.T)
    assert np.allclose(in_subspace.location_, 0)
    by_scikit_learn = np.sqrt(in_subspace.mahalanobis((new - vectors.mean(0)) @ expected.T))
    np.testing.assert_allclose(distances(vectors, new, share), by_scikit_learn, rtol=1e-6)


def test_the_cut_by_hand():
    """Variances of 90, 9, 0.9 and 0.1 %: the third completes 99 % and more, so the second and what follows are kept."""
    spread = np.sqrt([90, 9, 0.9, 0.1])
    centred = np.vstack([np.diag(spread), -np.diag(spread)])
    assert np.array_equal(np.abs(least_varying(centred, 0.0095)).round(6), np.eye(4)[1:])
    assert np.array_equal(np.abs(least_varying(centred, 0.05)).round(6), np.eye(4))
    assert np.array_equal(np.abs(least_varying(centred, 0.0005)).round(6), np.eye(4)[2:])


@given(seeds)
def test_a_share_that_keeps_all_directions_changes_no_distance(seed):
    vectors, new = np.split(cloud(seed, 24, 6), [20])
    np.testing.assert_allclose(distances(vectors, new, 1 - 1e-9), distances(vectors, new), rtol=1e-6)


@given(seed=seeds, repeated=st.integers(0, 3))
def test_the_order_of_pictures_decides_nothing_about_the_least_varying_directions(seed, repeated):
    """Of fewer vectors than channels: where nothing varies, the data tell no direction from another."""
    vectors, new = np.split(cloud(seed, 12, 20), [8])
    vectors = np.vstack([vectors, vectors[:repeated]])
    shuffled = np.random.default_rng(seed).permutation(vectors)
    np.testing.assert_allclose(distances(shuffled, new, 0.01), distances(vectors, new, 0.01), rtol=1e-6)


def test_altered_pictures_keep_their_form_and_half_stay_as_they_are():
    pixels = still(1, size=24)[0].pixels
    copies = [altered(pixels, np.random.default_rng(seed)) for seed in range(400)]
    assert all(copy.shape == pixels.shape and copy.dtype == np.uint8 for copy in copies)
    unaltered = sum(np.array_equal(copy, pixels) for copy in copies)
    assert 170 < unaltered < 250  # 200 and a few that nothing happened to
    for seed in range(0, 400, 20):
        assert np.array_equal(altered(pixels, np.random.default_rng(seed)), copies[seed])
    grey = np.full((24, 24, 3), 128, np.uint8)
    assert len({altered(grey, np.random.default_rng(seed)).tobytes() for seed in range(200)}) > 20


def test_an_altered_picture_shows_the_same_thing():
    """Its light, on the whole, and no black corners from turning and shifting."""
    pixels = still(1, size=24)[0].pixels // 4 + 96
    for seed in range(200):
        copy = altered(pixels, np.random.default_rng(seed))
        assert abs(copy.mean() / pixels.mean() - 1) < 0.25 and copy.min() > 50


def test_augmentation_learns_from_altered_copies_pass_by_pass(washers):
    samples = washers.train[:5]
    detector = MahalanobisAD(**CROP, layers=["blocks.1", "bn2"], augmentation=3, seed=4).fit(samples)
    pictures, rng = read(samples, detector.framing), np.random.default_rng(4)
    copies = np.stack([altered(square, rng) for _ in range(3) for square in pictures.pixels])
    features = pooled(detector.backbone, Pictures(samples * 3, copies, []), "", silent)
    for i, vectors in enumerate(features):
        expected = gaussian(vectors, "level")
        np.testing.assert_allclose(detector.learned[f"mean {i}"], expected["mean"], rtol=1e-4, atol=1e-5)
        covariances = [factor @ factor.T for factor in (detector.learned[f"factor {i}"], expected["factor"])]
        np.testing.assert_allclose(*covariances, rtol=1e-3, atol=1e-5 * np.abs(covariances[1]).max())


def test_augmentation_is_drawn_by_seed():
    def learned(seed):
        return MahalanobisAD(own(), **TINY, augmentation=2, seed=seed).fit(still(4)).learned

    one, same, other = learned(1), learned(1), learned(2)
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not any(np.array_equal(one[name], other[name]) for name in one)


# OCSVM


@pytest.mark.parametrize("nu", [0.05, 0.1, 0.5])
def test_ocsvm_is_scikit_learns_machine_on_pooled_features(washers, everything, nu):
    detector = OCSVM(**CROP, layers=["blocks.4", "bn2"], nu=nu).fit(washers.train)
    vectors = np.hstack(pooled(detector.backbone, read(everything, detector.framing), "", silent))
    assert vectors.shape == (28, 112 + 1280)
    machine = OneClassSVM(kernel="rbf", gamma="scale", nu=nu).fit(vectors[:20])
    found = detector.score(everything).image
    np.testing.assert_allclose(found, -machine.decision_function(vectors), rtol=1e-4, atol=1e-6)
    assert (found[:20] > machine.tol).sum() <= nu * 20 + 1


def test_an_outlier_lies_farthest_outside(washers):
    detector = OCSVM(**CROP).fit(washers.train)
    noise = still(1, size=72)[0]
    found = detector.score([*washers.test, noise]).image
    assert found.argmax() == 8 and found[8] > 0


def test_the_order_of_training_pictures_does_not_matter_to_ocsvm_and_mahalanobis(washers):
    for method in (OCSVM, MahalanobisAD):
        one = method(**CROP).fit(washers.train)
        other = method(one.backbone, **CROP).fit(washers.train[::-1])
        np.testing.assert_allclose(other.score(washers.test).image, one.score(washers.test).image, rtol=1e-3, atol=1e-3)
