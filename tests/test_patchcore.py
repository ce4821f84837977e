from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pclib import _bankfile, evaluate
from pclib._files import sha256_arrays
from pclib.backbones import load_backbone
from pclib.coreset import Selection, greedy
from pclib.detector import Scores
from pclib.framing import Box, Framing
from pclib.patchcore import PatchCore
from pclib.patches import embed
from pclib.scoring import anomaly_map, eq7_factor, image_scores, patch_scores
from pclib.toybox import Toybox

from .conftest import SMALL


@pytest.fixture(scope="module")
def scores(fitted, washers):
    return fitted.score(washers.test)


@pytest.mark.slow
def test_defects_score_higher_than_good_pictures():
    category = Toybox("washer", train=30, good=10, defective=16)
    found = evaluate(PatchCore().fit(category.train).score(category.test))
    assert found.image_auroc > 0.95 and found.pixel_auroc > 0.98 and found.pro > 0.95
    assert (found.n_good, found.n_anomalous) == (10, 16)


def test_shapes_and_types_are_as_promised(scores):
    assert scores.image.shape == (14,) and scores.image.dtype == np.float32
    assert scores.pixel.shape == (14, 112, 112) and scores.pixel.dtype == np.float32
    assert scores.masks().shape == (14, 112, 112) and scores.masks().dtype == bool


def test_scores_are_the_parts_put_together_with_the_authors_constants(fitted, washers, scores):
    framed = np.stack([np.asarray(Framing(128, 112).image(s.load())) for s in washers.test])
    with torch.inference_mode():
        embedding = embed(fitted.backbone(fitted.backbone.normalised(framed)), 3, 1024, 1024)
    patches = patch_scores(embedding, fitted.bank.vectors, k=1)
    np.testing.assert_allclose(scores.image, patches.max((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(scores.pixel, anomaly_map(patches, 112, sigma=4.0), rtol=1e-3)


def test_the_coreset_starts_and_projects_as_the_authors_do(fitted, washers):
    everything = PatchCore(fitted.backbone, **SMALL, coreset=1).fit(washers.train).bank
    picked = greedy(everything.vectors, 313, start="official", project=128, seed=0).indices
    assert np.array_equal(everything.image[picked], fitted.bank.image)
    assert np.array_equal(everything.place[picked], fitted.bank.place)


def test_the_bank_remembers_where_each_vector_came_from(fitted, washers):
    assert len(fitted.bank) == int(16 * 14 * 14 * 0.1)
    assert fitted.bank.place.max() < 14 and set(fitted.bank.image) <= set(range(16))
    row = 5
    sample = washers.train[int(fitted.bank.image[row])]
    box = fitted.box(tuple(fitted.bank.place[row]))
    found = fitted.explain(sample, (box.top + box.bottom) // 2, (box.left + box.right) // 2, k=1)
    assert found.neighbors[0].distance == pytest.approx(0, abs=1e-3) and found.neighbors[0].sample == sample


def test_a_picture_scores_the_same_alone_as_in_a_batch(fitted, washers, scores):
    alone = fitted.score(washers.test[9:10])
    np.testing.assert_allclose(alone.image[0], scores.image[9], rtol=1e-4)
    np.testing.assert_allclose(alone.pixel[0], scores.pixel[9], rtol=1e-3)


def test_fitting_again_gives_the_same_bank(fitted, washers):
    again = PatchCore(**SMALL, coreset=0.1).fit(washers.train)
    assert np.array_equal(again.bank.image, fitted.bank.image)
    np.testing.assert_allclose(again.bank.vectors, fitted.bank.vectors, rtol=1e-4, atol=1e-3)


def test_the_whole_memory_contains_every_training_patch(washers):
    detector = PatchCore(**SMALL, coreset=1).fit(washers.train[:3])
    assert len(detector.bank) == 3 * 14 * 14
    assert np.allclose(detector.score(washers.train[:3]).image, 0, atol=1e-3)


def test_any_function_of_features_can_choose_the_memory(washers):
    def every_tenth(features):
        return Selection(np.arange(0, len(features), 10), np.zeros(len(features) // 10))

    detector = PatchCore(**SMALL, coreset=every_tenth).fit(washers.train[:2])
    assert len(detector.bank) == 40 and detector.bank.place[1].tolist() == [0, 10]
    same = PatchCore(**SMALL, coreset=lambda f: greedy(f, 39, seed=0)).fit(washers.train[:2])
    assert np.array_equal(same.bank.vectors, PatchCore(**SMALL, coreset=0.1).fit(washers.train[:2]).bank.vectors)


def test_the_papers_protocol_is_plain_distances_and_equation_7(fitted, washers, scores):
    paper = PatchCore(fitted.backbone, **SMALL, coreset=0.1, protocol="paper").fit(washers.train)
    found = paper.score(washers.test)
    _, embedding = next(fitted._embeddings(_pictures(fitted, washers.test[:1]), "", lambda items, **_: items))
    patches, _ = fitted._score(embedding)
    flat = np.sqrt(patches).ravel()
    worst = embedding.reshape(-1, 1024)[[flat.argmax()]]
    factor = eq7_factor(worst, paper.bank.search(worst)[1][:, 0], paper.bank, b=9)
    assert found.image[0] == pytest.approx(flat.max() * factor[0], rel=1e-4)
    assert scores.image[0] == pytest.approx(image_scores(patches)[0], rel=1e-4)
    assert np.all(found.image <= np.sqrt(scores.image) * (1 + 1e-6))


def _pictures(detector, samples):
    from pclib.framing import read

    return read(samples, detector.framing)


def test_an_explanation_names_the_worst_patch_and_its_nearest_good_ones(fitted, washers, scores):
    bad = max(range(6, 14), key=lambda i: scores.image[i])
    found = fitted.explain(washers.test[bad])
    assert found.score == pytest.approx(scores.image[bad], rel=1e-4)
    assert found.neighbors[0].distance == pytest.approx(found.score, rel=1e-5)
    distances = [neighbor.distance for neighbor in found.neighbors]
    assert len(distances) == 3 and distances == sorted(distances)
    assert all(neighbor.sample in washers.train for neighbor in found.neighbors)
    assert found.box.top <= found.row < found.box.bottom and found.box.left <= found.col < found.box.right
    np.testing.assert_allclose(found.map, scores.pixel[bad], rtol=1e-3)
    assert found.neighbors[0].name in str(found)


def test_boxes_are_neighbourhoods_and_what_the_layers_see(fitted, washers):
    found = fitted.explain(washers.test[0], 56, 56)
    assert found.place == (7, 7) and found.box == Box(48, 48, 72, 72)
    # Receptive field of blocks.2, 67 pixels, and two strides of 8 more for the 3 x 3 neighbourhood.
    seen = found.receptive["blocks.2"]
    assert (seen.bottom - seen.top, seen.right - seen.left) == (83, 83)
    assert found.receptive["blocks.4"] == Box(0, 0, 112, 112)
    corner = fitted.explain(washers.test[0], 0, 111)
    assert corner.place == (0, 13) and corner.box == Box(0, 96, 16, 112)


def test_calibrating_sets_a_threshold_from_held_out_pictures(fitted, washers):
    held_out = Toybox("washer", train=9, size=128, seed=5).train
    fitted.calibrate(held_out, false_alarms=0.1)
    assert fitted.threshold == fitted.score(held_out).image.max()
    with pytest.raises(ValueError, match="9 good images are too few"):
        fitted.calibrate(held_out, false_alarms=0.01)
    with pytest.raises(ValueError, match=r"held out of fit, but train/good/000\.png.* are in the memory"):
        fitted.calibrate(washers.train, false_alarms=0.1)
    with pytest.raises(ValueError, match="calibrate learns from good samples only"):
        fitted.calibrate(washers.test, false_alarms=0.1)


def test_a_saved_detector_scores_exactly_as_before(fitted, washers, scores, tmp_path):
    fitted.threshold = 123.5
    fitted.save(tmp_path / "bank.safetensors")
    loaded = PatchCore.load(tmp_path / "bank.safetensors")
    again = loaded.score(washers.test)
    assert np.array_equal(again.image, scores.image) and np.array_equal(again.pixel, scores.pixel)
    assert loaded.threshold == 123.5 and loaded.trained_on == fitted.trained_on
    assert (loaded.protocol, loaded.neighbors, loaded.seed, loaded.coreset) == ("official", 1, 0, 0.1)
    assert loaded.explain(washers.test[0]).neighbors[0].sample is None
    shown = PatchCore.load(tmp_path / "bank.safetensors", train=washers.train)
    assert shown.explain(washers.test[0]).neighbors[0].sample in washers.train
    with pytest.raises(ValueError, match="train differs from what the bank was made from"):
        PatchCore.load(tmp_path / "bank.safetensors", train=Toybox("washer", size=128, seed=9).train)
    with pytest.raises(ValueError, match=r"train lacks pictures .* train/good/000\.png"):
        PatchCore.load(tmp_path / "bank.safetensors", train=washers.train[1:])


@pytest.fixture
def bank_file(fitted, tmp_path):
    fitted.save(tmp_path / "bank.safetensors")
    return tmp_path / "bank.safetensors"


def altered(path, honest=True, **changes):
    """The same file with other entries in its manifest, and with a hash to match if honest."""
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    tensors, text = load_file(path), json.dumps({**json.loads(metadata["pclib"]), **changes})
    digest = sha256_arrays(tensors, text) if honest else metadata["sha256"]
    save_file(tensors, path, metadata={"pclib": text, "sha256": digest})


def test_the_manifest_says_what_made_the_bank(bank_file, fitted):
    tensors, manifest = _bankfile.read(bank_file, "patchcore")
    assert manifest["backbone"]["sha256"] == fitted.backbone.digest and len(manifest["train"]) == 16
    assert manifest["framing"] == {"resize": 128, "crop": 112} and "torch" in manifest["versions"]
    assert set(tensors) == {"vectors", "image", "place"}


def test_bank_files_that_cannot_be_trusted_are_refused(bank_file, fitted):
    whole = bank_file.read_bytes()
    bank_file.write_bytes(whole[:-1000])
    with pytest.raises(ValueError, match="truncated, or not a bank file"):
        PatchCore.load(bank_file)
    bank_file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="damaged or altered, its contents do not match their hash"):
        PatchCore.load(bank_file)
    bank_file.write_bytes(whole)
    altered(bank_file, honest=False, threshold=1.0)
    with pytest.raises(ValueError, match="damaged or altered"):
        PatchCore.load(bank_file)
    altered(bank_file, format=99)
    with pytest.raises(ValueError, match=r"bank format 99 .* this version reads format 1"):
        PatchCore.load(bank_file)
    altered(bank_file, format=1, method="padim")
    with pytest.raises(ValueError, match="a bank of padim, not of patchcore"):
        PatchCore.load(bank_file)
    save_file(load_file(bank_file), bank_file)
    with pytest.raises(ValueError, match="not a bank that pclib wrote"):
        PatchCore.load(bank_file)
    with pytest.raises(FileNotFoundError, match="no such bank file"):
        PatchCore.load(bank_file.with_name("absent.safetensors"))


def test_a_bank_of_another_backbone_is_refused(bank_file):
    other = load_backbone("tf_efficientnet_lite0", weights="random")
    with pytest.raises(ValueError, match="distances between the two mean nothing"):
        PatchCore.load(bank_file, backbone=other)


def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(bank_file, fitted, monkeypatch):
    whole = bank_file.read_bytes()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_bankfile, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted.save(bank_file)
    assert bank_file.read_bytes() == whole and list(bank_file.parent.iterdir()) == [bank_file]


def test_saving_to_no_folder_is_refused(fitted, tmp_path):
    with pytest.raises(ValueError, match="no such folder to write to"):
        fitted.save(tmp_path / "absent" / "bank.safetensors")


def test_bad_settings_are_refused_at_once():
    backbone = load_backbone("resnet18", weights="random")
    for share in (0, -0.1, 10):
        with pytest.raises(ValueError, match=rf"coreset share must lie in \(0, 1\], got {share}; for 10 % write 0.1"):
            PatchCore(backbone, coreset=share)
    with pytest.raises(ValueError, match="protocol must be one of 'official', 'paper'"):
        PatchCore(backbone, protocol="authors")
    with pytest.raises(ValueError, match="neighbors must be a whole number of at least 1"):
        PatchCore(backbone, neighbors=0)
    with pytest.raises(ValueError, match="layers, device and precision were chosen when the backbone was made"):
        PatchCore(backbone, layers=["layer1"])
    with pytest.raises(ValueError, match="seed must be a whole number of at least 0"):
        PatchCore(backbone, seed=-1)
    with pytest.raises(TypeError):
        PatchCore(backbone, neighbours=3)


def test_numbers_from_numpy_serve_as_well_as_pythons(fitted, washers, tmp_path):
    settings = {name: np.int64(value) for name, value in {**SMALL, "neighbors": 2, "seed": 3}.items()}
    detector = PatchCore(fitted.backbone, **settings, coreset=np.float32(0.01)).fit(washers.train[:2])
    detector.save(tmp_path / "bank.safetensors")
    assert PatchCore.load(tmp_path / "bank.safetensors").neighbors == 2


def test_progress_is_called_like_tqdm_at_every_stage(fitted, washers):
    seen = []

    def progress(items, *, total=None, desc="", unit=""):
        seen.append(desc)
        return items

    PatchCore(fitted.backbone, **SMALL).fit(washers.train[:2], progress=progress).score(
        washers.test[:1], progress=progress
    )
    assert seen == ["reading", "features", "coreset", "reading", "scoring"]


def test_bad_training_sets_are_refused_before_the_work_starts(fitted, washers):
    fresh = PatchCore(fitted.backbone, **SMALL)
    with pytest.raises(ValueError, match="no samples given"):
        fresh.fit([])
    with pytest.raises(ValueError, match="1 good picture to learn from cannot show how good ones vary"):
        fresh.fit(washers.train[:1])
    with pytest.raises(ValueError, match="fit learns from good samples only"):
        fresh.fit(washers.test)
    with pytest.raises(TypeError, match=r"fit\(category\.train\)"):
        fresh.fit(washers)
    with pytest.raises(ValueError, match=r"more than one is called train/good/000\.png"):
        fresh.fit([washers.train[0]] * 2)
    few = PatchCore(fitted.backbone, **SMALL, coreset=0.005, neighbors=3)
    with pytest.raises(ValueError, match=r"share 0\.005 of 392 patches keeps 1, fewer than neighbors=3"):
        few.fit(washers.train[:2])
    with pytest.raises(RuntimeError, match="no memory yet"):
        fresh.score(washers.test)


def test_features_that_are_not_finite_are_refused_with_the_pictures_name(washers):
    backbone = load_backbone("resnet18", weights="random")
    next(iter(backbone.network.parameters())).data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"train/good/000\.png: its features hold NaN or infinity"):
        PatchCore(backbone, **SMALL).fit(washers.train)


def test_pixels_outside_the_crop_are_refused(fitted, washers):
    with pytest.raises(ValueError, match=r"must lie in \[0, 112\).*got \(112, 0\)"):
        fitted.explain(washers.test[0], 112, 0)
    with pytest.raises(ValueError, match="give both row and col"):
        fitted.explain(washers.test[0], row=3)
    with pytest.raises(ValueError, match="neighbours asked of a bank"):
        fitted.explain(washers.test[0], k=10_000)


def test_features_that_memory_cannot_hold_are_refused_first(fitted, washers, monkeypatch):
    monkeypatch.setattr("pclib.patchcore.available_memory", lambda: 1 << 20)
    detector = PatchCore(fitted.backbone, **SMALL)
    with pytest.raises(MemoryError, match=r"features of 16 pictures with 196 patches each take 0\.0 GiB"):
        detector.fit(washers.train)
    assert detector.bank is None


def test_maps_are_computed_when_they_are_looked_at(fitted, washers):
    scores = fitted.score(washers.test)
    assert not isinstance(scores.maps, np.ndarray) and scores.maps.shape == scores.pixel.shape == (14, 112, 112)
    assert np.array_equal(scores.pixel, np.asarray(scores.maps))
    streamed, at_once = (
        evaluate(Scores(scores.image, maps, scores.samples, scores.framing), replicates=20)
        for maps in (scores.maps, scores.pixel)
    )
    assert streamed == at_once
