"""Functions that notebooks define in their cells do what `pclib`, or a plain reference, does.

A test names the function with `held`, and takes it out of the notebook as it is stored there.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable
from dataclasses import replace
from time import sleep
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from suite.cells import code

import pclib
import pclib.framing
from pclib import method_plots, metrics, scoring, speed_plots, sweep
from pclib.backbones import load_backbone
from pclib.cells import Cell, Measured
from pclib.configurations import EMBEDDED
from pclib.coreset import covering_radius, greedy
from pclib.extraction import feature_maps, silent
from pclib.measuring import open_bench
from pclib.methods import SPADE, PaDiM
from pclib.neighbors import MemoryBank
from pclib.patches import embed
from pclib.store import COUNTS, NUMBERS, Store

from .conftest import ROOT

# What a cell defines for its own figure or loop, and that states nothing about the method.
HELPERS: dict[tuple[str, str], str] = {
    ("02_features", "by_recipe"): "two lines around PatchCore.embed and judged",
    ("02_features", "curves"): "arranges results for a figure",
    ("02_features", "my_average"): "the learner's; the solution is held by the exercise's own check",
    ("02_features", "distance"): "the length of a difference, within an exercise's check",
    ("03_coreset", "my_radius_of"): "the learner's; the solution is held by the exercise's own check",
    ("03_coreset", "patch_vectors"): "one line around PatchCore.embed",
}

HELD: set[tuple[str, str]] = set()


def trees(notebook: str) -> list[ast.stmt]:
    """The top-level statements of a notebook's code, without those cells that hold magics."""
    stored = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4)
    return [node for cell in code(stored) for node in ast.parse(cell.source).body]


def held(notebook: str, *functions: str, **given: Any) -> Callable:
    """Give a test the functions of this notebook, as arguments of their names; and note that they are tested.

    `given` are values of variables that the functions find in their notebook.
    """
    HELD.update((notebook, name) for name in functions)

    def decorate(test: Callable) -> Callable:
        def run() -> None:
            test(**{name: value for name, value in taken(notebook, functions, given).items() if name in functions})

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


def taken(notebook: str, functions: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
    """The notebook's imports, and these functions."""
    wanted = [
        node
        for node in trees(notebook)
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.FunctionDef) and node.name in functions)
    ]
    namespace: dict[str, Any] = dict(given)
    exec(compile(ast.Module(wanted, []), notebook, "exec"), namespace)
    missing = set(functions) - set(namespace)
    assert not missing, f"{notebook} defines no {missing}"
    return namespace


# --- 00, 01, 05 ---


@held("01_images", "pixel_mean")
def test_pixel_mean_is_the_blurred_squared_difference_to_the_mean_picture(pixel_mean):
    random = np.random.default_rng(0)
    train, test = random.integers(0, 256, (5, 20, 24, 3), np.uint8), random.integers(0, 256, (2, 20, 24, 3), np.uint8)
    mean = sum(picture.astype(float) for picture in train) / 5
    for found, picture in zip(pixel_mean(train, test), test, strict=True):
        squared = sum((picture[..., channel] - mean[..., channel]) ** 2 for channel in range(3))
        np.testing.assert_allclose(found, gaussian_filter(squared, 4), rtol=1e-4)


@held("01_images", "random_features")
def test_random_features_are_positive_parts_of_patches_times_one_matrix(random_features):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 32, 3), np.uint8)
    matrix = np.random.default_rng(0).standard_normal((16 * 16 * 3, 5), dtype=np.float32)
    found = random_features(pictures, width=5)
    assert found.shape == (2, 4, 3, 5)  # patches start every 8 pixels
    for image, row, column in np.ndindex(2, 4, 3):
        patch = pictures[image, 8 * row : 8 * row + 16, 8 * column : 8 * column + 16].transpose(2, 0, 1)
        expected = np.maximum(patch.ravel().astype(float) @ matrix, 0)
        np.testing.assert_allclose(found[image, row, column], expected, rtol=1e-3, atol=1)


@held("01_images", "random_features", "random_patches")
def test_random_patches_are_scored_by_the_nearest_of_a_tenth(random_features, random_patches):
    random = np.random.default_rng(3)
    train, test = random.integers(0, 256, (3, 64, 64, 3), np.uint8), random.integers(0, 256, (2, 48, 40, 3), np.uint8)
    bank, queries = random_features(train).reshape(-1, 64).astype(float), random_features(test).astype(float)
    kept = np.random.default_rng(1).choice(len(bank), len(bank) // 10, replace=False)
    expected = ((queries[..., None, :] - bank[kept]) ** 2).sum(-1).min(-1)
    np.testing.assert_allclose(random_patches(train, test), expected, rtol=1e-4)


@held("01_images", "turned")
def test_turned_is_a_close_up_of_the_first_scratched_washer(turned):
    for knobs in ({}, {"contrast": 0.5}):
        first = next(sample for sample in pclib.Toybox("washer", **knobs).test if sample.defect == "scratch")
        np.testing.assert_array_equal(turned(**knobs), np.asarray(first.load())[30:150, 110:230])


@held("01_images", "auroc_between")
def test_auroc_between_is_how_often_a_defective_picture_scores_higher(auroc_between):
    good, bad = np.random.default_rng(0).integers(0, 5, (2, 30))
    assert auroc_between(good, bad) == pytest.approx(np.mean([(b > g) + (b == g) / 2 for b in bad for g in good]))


def masks_and_maps(seed: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Four masks, one of them empty, with regions of several sizes that meet at corners; and maps."""
    random = np.random.default_rng(seed)
    masks = random.random((4, 24, 24)) < np.array([0.0, 0.02, 0.05, 0.1])[:, None, None]
    maps = random.normal(size=masks.shape) + masks
    return masks, np.round(maps, 1) if ties else maps


@held("05_metrics", "both")
def test_both_equals_pclib(both):
    for seed, max_fpr in ((0, 0.3), (1, 0.05), (2, 1.0)):
        masks, maps = masks_and_maps(seed)
        expected = pclib.metrics.pixel_auroc(masks, maps), pclib.metrics.pro(masks, maps, max_fpr)
        assert both(masks, maps, max_fpr) == pytest.approx(expected, abs=1e-12)


@held("05_metrics", "pro_200")
def test_pro_200_is_the_stretched_area_at_evenly_spaced_thresholds(pro_200):
    masks, maps = masks_and_maps(0, ties=True)
    regions = pclib.metrics.find_regions(masks)
    points = []
    for step in range(200):
        alarm = maps > maps.min() + step * (maps.max() - maps.min()) / 200
        overlap = np.mean([alarm[masks][regions.of_pixel == k].mean() for k in range(len(regions))])
        points.append((alarm[~masks].mean(), overlap))
    kept = sorted(point for point in points if point[0] < 0.3)
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(kept)) / kept[-1][0]
    assert pro_200(masks, maps) == pytest.approx((area, kept[-1][0]))


@held("05_metrics", "pro_200")
def test_pro_200_with_very_many_steps_is_exact_up_to_the_rate_that_it_keeps(pro_200):
    masks, maps = masks_and_maps(1)
    found, last = pro_200(masks, maps, steps=20_000)
    assert found == pytest.approx(pclib.metrics.pro(masks, maps, last), abs=2e-3)


@held("05_metrics", "shrunk")
def test_shrunk_by_the_official_rule_is_the_framed_mask(shrunk):
    for sample in pclib.Toybox("washer", size=512, good=1, defective=4).test:
        official = shrunk(sample, lambda grey: grey == 255)
        np.testing.assert_array_equal(official, pclib.framing.Framing(256, 224).mask(sample.load_mask()))
        assert not (official & ~shrunk(sample, lambda grey: grey > 0)).any()


@held("05_metrics", "test_set", "some_unseen")
def test_drawn_sets_have_the_auroc_that_they_are_drawn_for(test_set, some_unseen):
    labels = np.repeat([0, 1], 100_000)
    for draw, truth in itertools.product((test_set, some_unseen), (0.8, 0.98)):
        scores = draw(truth, labels, np.random.default_rng(0))
        assert pclib.metrics.auroc(labels, scores) == pytest.approx(truth, abs=0.005)
    unseen = some_unseen(0.9, labels, np.random.default_rng(0))[labels == 1] < 10
    assert unseen.mean() == pytest.approx(0.2, abs=0.01)


@held("05_metrics", "test_set", "covered")
def test_covered_counts_the_intervals_that_hold_the_truth(test_set, covered):
    generator, labels = np.random.default_rng(2), np.repeat([0, 1], [12, 30])
    held_truth, lengths = 0, []
    for _ in range(40):
        low, high = pclib.metrics.auroc_interval(labels, test_set(0.9, labels, generator), method="delong")
        held_truth += low <= 0.9 <= high
        lengths.append(high - low)
    assert covered("delong", (12, 30), 0.9, sets=40) == pytest.approx((held_truth / 40, np.mean(lengths)))
    assert covered("delong", (12, 30), 0.5, sets=3, draw=lambda truth, labels, _: labels)[0] == 0  # all ranked right


@held("05_metrics", "noisy_set")
def test_noisy_sets_hold_one_square_in_each_bad_image_and_light_up_there(noisy_set):
    masks, maps = noisy_set(3, 200, np.random.default_rng(0))
    assert masks.shape == maps.shape == (203, 24, 24)
    assert not masks[200:].any()
    for mask in masks[:200]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert 2 <= len(rows) == len(columns) < 8 and mask.sum() == len(rows) ** 2
    assert pclib.metrics.pixel_auroc(masks, maps) > 0.9
    brighter = [noisy[mask].mean() - noisy[~mask].mean() for mask, noisy in zip(masks[:200], maps, strict=False)]
    assert np.median(brighter) == pytest.approx(np.e, rel=0.15)  # lognormal(1, 0.6)


@held("05_metrics", "f1")
def test_f1_is_the_harmonic_mean_of_precision_and_recall(f1):
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 40), random.integers(0, 9, 40)
    for t in (1.5, 4, 7):
        precision, recall = labels[scores > t].mean(), (scores > t)[labels == 1].mean()
        assert f1(labels, scores, t) == pytest.approx(2 * precision * recall / (precision + recall))
    best = pclib.metrics.f1_max(labels, scores)
    assert f1(labels, scores, best.threshold) == pytest.approx(best.f1)


# --- 02 ---

LITE = load_backbone("tf_efficientnet_lite0", ("blocks.2", "blocks.4"), weights="random")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)


def lite_maps() -> list[torch.Tensor]:
    with torch.inference_mode():
        return list(LITE(LITE.normalised(PIXELS)).values())


@held("02_features", "pca_colours")
def test_pca_colours_are_the_three_leading_principal_components_up_to_sign(pca_colours):
    features = np.random.default_rng(0).standard_normal((12, 15, 6)) * [9, 5, 3, 1, 1, 1]
    colours = pca_colours(features)
    assert colours.shape == (12, 15, 3) and colours.min() >= 0 and colours.max() <= 1
    components = PCA(3).fit_transform(features.reshape(-1, 6))
    for colour, component in zip(colours.reshape(-1, 3).T, components.T, strict=True):
        inside = (colour > 0) & (colour < 1)  # the extremes are cut off
        assert abs(np.corrcoef(colour[inside], component[inside])[0, 1]) > 0.9999


STACK = torch.nn.Sequential(
    torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, 2), torch.nn.Conv2d(2, 2, 5)),
    torch.nn.Sequential(torch.nn.Conv2d(2, 1, 3)),
)


@held("02_features", "receptive_fields", "influence", "width", "within_half")
def test_a_receptive_field_by_formula_is_as_wide_as_the_part_with_influence(
    receptive_fields, influence, width, within_half
):
    picture = np.random.default_rng(0).standard_normal((1, 1, 64, 64), dtype=np.float32)
    (seen,) = influence(lambda pixels: {"all": STACK(pixels)}, ["all"], picture).values()
    assert list(receptive_fields(STACK).values())[-1] == (2, width(seen)) == (2, 3 + 4 * 2 + 2 * 2)
    row = (STACK[1](STACK[0](torch.zeros(1, 1, 64, 64))).shape[2] // 2) * 2  # where that vector's field begins
    assert np.array_equal(np.argwhere(seen).min(0), (row, row)) and seen.shape == (64, 64)
    square = np.zeros((20, 20))
    square[4:12, 5:13] = 1
    assert width(square) == 8 and within_half(square) == pytest.approx(1 / 4)


@held("02_features", "feature_maps", "averaged")
def test_averaged_maps_are_means_over_neighbourhoods(feature_maps, averaged):
    for found, features in zip(feature_maps(LITE, PIXELS).values(), lite_maps(), strict=True):
        torch.testing.assert_close(found, features, atol=1e-4, rtol=1e-4)
        for size in (1, 3, 5):
            channels = features.shape[1]
            np.testing.assert_allclose(averaged(found, size), embed([features], size, channels, channels), atol=1e-4)


@held("02_features", "averaged", "joined")
def test_joined_is_both_stages_on_the_finer_grid(averaged, joined):
    fine, coarse = lite_maps()
    found = joined({"fine": fine, "coarse": coarse}, 3)
    assert found.shape == (5, 8, 8, 152)
    np.testing.assert_allclose(found[..., :40], embed([fine], 3, 40, 40), atol=1e-5)
    np.testing.assert_allclose(found[..., 40:], embed([fine, coarse], 3, 112, 224)[..., 112:], atol=1e-5)


TRUTH = np.random.default_rng(1).random((6, 224, 224)) > 0.999


@held("02_features", "judged", labels={"x": [0, 0, 0, 1, 1, 1]}, masks={"x": TRUTH})
def test_judged_takes_the_largest_distance_to_a_random_memory(judged):
    random = np.random.default_rng(2)
    good, tested = random.standard_normal((3, 28, 28, 4)), random.standard_normal((6, 7, 7, 4))
    image_auroc, pro, image = judged("x", good, tested, remembered=50)
    kept = good.reshape(-1, 4)[np.random.default_rng(0).choice(3 * 784, 50, replace=False)]
    patches = ((tested[..., None, :] - kept) ** 2).sum(-1).min(-1)
    np.testing.assert_allclose(image, patches.max((1, 2)), rtol=1e-4)
    assert image_auroc == pytest.approx(metrics.auroc([0, 0, 0, 1, 1, 1], patches.max((1, 2))))
    assert pro == pytest.approx(metrics.pro(TRUTH, scoring.anomaly_map(patches, 224)), abs=1e-5)


@held("02_features", "literal", "disguised")
def test_the_recipe_written_out_and_in_disguise_are_the_embedding(literal, disguised):
    generator = torch.Generator().manual_seed(3)
    fine, coarse = torch.randn(2, 512, 6, 6, generator=generator), torch.randn(2, 1024, 3, 3, generator=generator)
    for found in (literal([fine, coarse]), disguised(fine, coarse)):
        torch.testing.assert_close(found, embed([fine, coarse]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(literal(lite_maps()), embed(lite_maps()), atol=1e-4, rtol=1e-4)


# --- 03 ---


@held("03_coreset", "farthest_first", "radius")
def test_farthest_first_is_the_greedy_selection_and_radius_its_covering_radius(farthest_first, radius):
    for seed in range(5):
        points = np.random.default_rng(seed).standard_normal((40, 3))
        picks, radii = farthest_first(points, 9, start=seed)
        ours = greedy(points, 9, start=seed, project=None)
        np.testing.assert_array_equal(picks, ours.indices)
        np.testing.assert_allclose(radii, ours.radii, rtol=1e-5)
        assert (
            radius(points, picks) == pytest.approx(covering_radius(points, picks), rel=1e-5) == pytest.approx(radii[-1])
        )


@held("03_coreset", "selections", SHARES=(0.05, 0.2))
def test_selections_of_all_methods_have_the_sizes_asked_for(selections):
    vectors = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    found = {(method, share): indices for method, share, indices in selections(vectors, 1)}
    assert {key: len(set(indices)) for key, indices in found.items()} == {
        (method, share): int(200 * share) for method in ("greedy", "random", "k-means") for share in (0.05, 0.2)
    }
    np.testing.assert_array_equal(found["greedy", 0.05], greedy(vectors, 10, seed=1).indices)


@held("03_coreset", "seed_interval")
def test_the_interval_over_seeds_is_students(seed_interval):
    values = [0.7, 0.9, 0.8, 0.75]
    low, high = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    assert seed_interval(values, 0.9) == pytest.approx((high - low) / 2)


# --- 04 ---

VECTORS = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
BANK = MemoryBank(VECTORS, np.zeros(30, np.int32), np.zeros((30, 2), np.int32))
PATCHES = np.random.default_rng(1).standard_normal((3, 28, 28, 4)).astype(np.float32)
SQUARED, ROWS = scoring.nearest(PATCHES, BANK, 9)
WORST = PATCHES.reshape(3, 784, 4)[np.arange(3), SQUARED[..., 0].reshape(3, 784).argmax(1)]


@held(
    *("04_scoring", "weights"),
    labels={"x": np.zeros(3)},
    squared={"x": SQUARED},
    rows={"x": ROWS},
    worst_patch={"x": WORST},
    detectors={"x": SimpleNamespace(bank=BANK)},
)
def test_weights_are_those_of_equation_7_written_out(weights):
    for unit in (1.0, 4.0):
        factors, distances = weights("x", unit)
        for image, factor, distance in zip(PATCHES.reshape(3, -1, 4).astype(float), factors, distances, strict=True):
            to_bank = np.linalg.norm(image[:, None] - VECTORS, axis=2)
            worst = to_bank.min(1).argmax()
            nearest = to_bank[worst].argmin()
            crowd = np.linalg.norm(VECTORS - VECTORS[nearest], axis=1).argsort()[:9]
            exponentials = np.exp(to_bank[worst] / unit)
            assert distance == pytest.approx(to_bank[worst, nearest], rel=1e-5)
            assert factor == pytest.approx(1 - exponentials[nearest] / exponentials[crowd].sum(), rel=1e-4)


@held("04_scoring", "drawn_rates", "promised_rate")
def test_the_rate_of_false_alarms_is_distributed_as_promised(drawn_rates, promised_rate):
    scores = np.random.default_rng(5).random(3000) ** 3
    for n, alpha in ((19, 0.05), (59, 0.1)):
        assert stats.kstest(drawn_rates(scores, n, alpha, draws=500), promised_rate(n, alpha).cdf).statistic < 0.08
        assert promised_rate(n, alpha).mean() <= alpha + 1e-12


@held("04_scoring", "against_good", kinds=np.array(["good", "chip", "good", "dent", "chip"]))
def test_one_kind_of_defect_is_judged_against_the_good_pictures_alone(against_good):
    assert against_good(np.array([1.0, 2.0, 3.0, 9.0, 4.0]), "chip") == 0.75


# --- 06 to 09 ---


@held("09_table_s4", "grid")
def test_the_grid_has_as_many_rows_as_the_networks_first_map(grid):
    for row in (row for row in EMBEDDED.values() if row.method == "patchcore"):
        p = row.parameters
        _, rows, columns = load_backbone(p["backbone"], p["layers"]).shapes(p["crop"])[p["layers"][0]]
        assert rows == columns == (grid(row, stride=4) if "blocks.1" in p["layers"] else grid(row))


@held("09_table_s4", "scored")
def test_scored_gives_three_defective_pictures_the_scores_that_their_cell_gives_them(scored):
    row = EMBEDDED["layers 2, 3"].changed("small", resize=64, crop=64)
    cell = Cell(row, "toybox", "washer", 0)
    kept = open_bench([cell]).measure(cell).scores
    known = dict(zip(kept["name"], kept["score"], strict=True))
    found = scored(cell, row)
    assert found.image == pytest.approx([known[sample.name] for sample in found.samples], rel=1e-5)
    assert all(sample.label for sample in found.samples) and len({s.defect for s in found.samples}) == 3


# --- 13 ---


@held("13_speed", "clock", "time_of")
def test_the_clock_gives_what_a_call_returns_and_the_shortest_of_several_times(clock, time_of):
    result, seconds = clock(lambda: sum(range(1000)))
    assert result == 499_500 and seconds > 0
    waits = iter([0.2, 0.0, 0.2])
    assert 0 < time_of(lambda: sleep(next(waits)), 3) < 0.2


@held("13_speed", "plain_loop", "lazy_loop")
def test_both_loops_pick_what_greedy_picks(plain_loop, lazy_loop):
    points = np.random.default_rng(0).normal(size=(300, 5))
    picked, computed = lazy_loop(points, 40)
    assert picked == plain_loop(torch.from_numpy(points), 40)
    assert picked == greedy(points, 40, start=0, project=None).indices.tolist()
    assert len(computed) == 40 and computed[0] == 300 and (np.diff(computed) >= 0).all() and computed[-1] < 300 * 40


@held("13_speed", "literal_embedding")
def test_the_literal_embedding_is_that_of_the_module(literal_embedding):
    maps = [torch.from_numpy(np.random.default_rng(0).normal(size=(2, c, n, n))).float() for c, n in ((24, 8), (40, 4))]
    assert torch.allclose(literal_embedding(maps, width=16), embed(maps, 3, 16, 16), atol=1e-5)


@held("13_speed", "exponent")
def test_the_exponent_of_a_power_law_is_found(exponent):
    assert exponent([1, 2, 5, 9], [3 * n**1.7 for n in (1, 2, 5, 9)]) == pytest.approx(1.7)


@held("13_speed", "impatient")
def test_the_impatient_bar_lets_2000_picks_pass_and_then_interrupts(impatient):
    passed = []
    with pytest.raises(KeyboardInterrupt):
        passed.extend(pick for pick in impatient(iter(range(3000)), total=3000))
    assert passed == list(range(2000))
    assert list(impatient(range(10))) == list(range(10))


def test_figures_of_speed_draw_the_numbers_that_they_are_given():
    spent = {"slow": {"read": 1.0, "search": 5.0}, "fast": {"read": 1.0, "search": 2.0}}
    above, below = speed_plots.stages(spent, enlarged="fast").axes
    assert [bar.get_width() for bar in above.patches] == [1.0, 2.0, 1.0, 5.0]  # the first program on top
    assert [text.get_text() for text in below.texts] == [" 3 s"]
    roof, point = speed_plots.roofline(100.0, 10.0, {"search": (50.0, 80.0)}).axes[0].lines
    assert max(roof.get_ydata()) == 100 and min(roof.get_ydata()) == pytest.approx(1.0)
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (50.0, 80.0)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_every_function_of_a_notebook_is_held_by_a_test(path):
    defined = {(path.stem, node.name) for node in trees(path.stem) if isinstance(node, ast.FunctionDef)}
    assert defined <= HELD | set(HELPERS), f"add a test for {defined - HELD - set(HELPERS)}"


# --- 10 ---


def toy_pictures(name: str) -> tuple[pclib.framing.Pictures, pclib.framing.Pictures]:
    """Few pictures of a category to learn from and to test, framed as in the notebook."""
    category = pclib.Toybox(name, train=8, good=3, defective=4, size=160)
    framing = pclib.framing.Framing(128, 112)
    train, test = (pclib.framing.read(samples, framing) for samples in (category.train, category.test))
    return train, test


WASHERS, TESTED = toy_pictures("washer")
LABELS = np.array([sample.label == 1 for sample in TESTED.samples])
SMALL_PADIM = PaDiM(resize=128, crop=112, channels=20).fit_pictures(WASHERS)
SMALL_SPADE = SPADE(resize=128, crop=112, neighbors=3).fit_pictures(WASHERS)
GIVEN = {"train": {"washer": WASHERS}, "test": {"washer": TESTED}, "labels": {"washer": LABELS}}
FRAMING_10 = pclib.framing.Framing(128, 112)


@held("10_embedding_methods", "distances")
def test_distances_are_those_of_a_shrunk_covariance_along_the_directions(distances):
    random = np.random.default_rng(0)
    good, new = random.standard_normal((12, 6)) * [5, 3, 1, 1, 1, 0.1], random.standard_normal((4, 6))
    directions = np.linalg.qr(random.standard_normal((6, 6)))[0][:3]
    for along in (np.eye(6), directions):
        expected = LedoitWolf().fit(good @ along.T).mahalanobis(new @ along.T) ** 0.5
        np.testing.assert_allclose(distances(good, new, along), expected)


@held("10_embedding_methods", "by_variance")
def test_by_variance_gives_principal_directions_split_at_the_last_percent_of_the_variance(by_variance):
    random = np.random.default_rng(1)
    good = random.standard_normal((200, 5)) * [10, 5, 1, 0.3, 0.2]
    first, last = by_variance(good)
    whole = PCA(5).fit(good)
    np.testing.assert_allclose(abs(np.concatenate([first, last]) @ whole.components_.T), np.eye(5), atol=1e-8)
    # the last percent, and the one direction before the cut that the authors' code keeps too
    assert len(first) == int((np.cumsum(whole.explained_variance_ratio_) <= 0.99).sum()) - 1


@held("10_embedding_methods", "spade_scores", spade=SMALL_SPADE, gallery=SMALL_SPADE.learned, test={"weave": TESTED})
def test_spade_scores_of_a_gallery_are_those_of_a_fit(spade_scores):
    for neighbors, squared in ((1, False), (4, True)):
        fitted = SPADE(resize=128, crop=112, neighbors=neighbors, squared=squared).fit_pictures(WASHERS)
        expected, found = fitted.score_pictures(TESTED), spade_scores(neighbors, squared)
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.pixel, expected.pixel)


@held("10_embedding_methods", "vectors_at", padim=SMALL_PADIM)
def test_vectors_at_a_place_are_the_channels_that_padim_averages_there(vectors_at):
    found = vectors_at((5, 9), WASHERS)
    np.testing.assert_allclose(found.mean(0), SMALL_PADIM.learned["mean"][5, 9], rtol=1e-4, atol=1e-4)
    factor = SMALL_PADIM.learned["factor"][5, 9].astype(float)
    np.testing.assert_allclose(np.cov(found.T) + 0.01 * np.eye(20), factor @ factor.T, atol=1e-2)


@held("10_embedding_methods", "with_epsilon", **GIVEN, padim=SMALL_PADIM)
def test_with_epsilon_is_the_auroc_of_such_a_padim(with_epsilon):
    for epsilon in (0.01, 10.0):
        image = PaDiM(resize=128, crop=112, epsilon=epsilon).fit_pictures(WASHERS).score_pictures(TESTED).image
        assert with_epsilon("washer", epsilon) == pytest.approx(100 * metrics.auroc(LABELS, image))


@held("10_embedding_methods", "outside_of")
def test_outside_of_a_flat_is_what_least_squares_leave(outside_of):
    random = np.random.default_rng(2)
    good, new = random.standard_normal((4, 9)), random.standard_normal((5, 9))
    edges = (good[1:] - good[0]).T
    left = [vector - edges @ np.linalg.lstsq(edges, vector, rcond=None)[0] for vector in new - good[0]]
    np.testing.assert_allclose(outside_of(good, new), np.linalg.norm(left, axis=1))
    np.testing.assert_allclose(outside_of(good, good), 0, atol=1e-12)


WIDE = {"washer": pclib.framing.read(TESTED.samples, pclib.framing.Framing(128, 128))}


@held("10_embedding_methods", "cut", wide=WIDE)
def test_cut_moves_the_crop_within_the_margin(cut):
    still, moved = cut("washer", ~LABELS), cut("washer", ~LABELS, 5)
    np.testing.assert_array_equal(still.pixels, TESTED.pixels[~LABELS])
    np.testing.assert_array_equal(moved.pixels[:, :, :-5], still.pixels[:, :, 5:])
    assert [sample.name for sample in moved.samples] == [s.name for s in TESTED.samples if not s.label]
    assert moved.digests == [d for d, bad in zip(TESTED.digests, LABELS, strict=True) if not bad]


@held("10_embedding_methods", "by_both", **GIVEN, padim=SMALL_PADIM)
def test_by_both_scores_each_set_by_both_methods(by_both):
    found = by_both("washer", [TESTED, TESTED])
    bound = PaDiM(resize=128, crop=112).fit_pictures(WASHERS).score_pictures(TESTED)
    layers = SMALL_PADIM.backbone.layers
    free = pclib.PatchCore(layers=layers, resize=128, crop=112, coreset=0.02).fit(WASHERS.samples).score(TESTED.samples)
    for method, expected in (("PaDiM", bound.image), ("PatchCore", free.image)):
        for image in found[method]:
            np.testing.assert_allclose(image, expected, rtol=1e-5)


@held("10_embedding_methods", "from_mean_picture", **GIVEN, framing=FRAMING_10)
def test_maps_from_the_mean_picture_are_blurred_squared_differences(from_mean_picture):
    mean = sum(picture.astype(float) for picture in WASHERS.pixels) / len(WASHERS.pixels)
    for found, picture in zip(from_mean_picture("washer"), TESTED.pixels, strict=True):
        np.testing.assert_allclose(found, gaussian_filter(((picture - mean) ** 2).sum(-1), 4), rtol=1e-3)


def test_kept_scores_are_those_of_the_cell_with_seed_0(tmp_path):
    cell = sweep.plan("S1", "OCSVM", "washer", data="toybox")[0]
    store = Store(tmp_path)
    with store.writing():
        for seed in (0, 1):
            scores = {"name": np.array(["a"]), "defect": np.array(["good"]), "score": np.array([float(seed + 3)])}
            metric = dict.fromkeys(NUMBERS), dict.fromkeys(COUNTS)
            store.add(replace(cell, seed=seed), Measured(*metric, scores, {}, 0, {}))
    frame = store.frame().set_index("cell")
    kept = taken("10_embedding_methods", ("kept",), {"store": store, "scores_of": frame["scores"]})["kept"]
    assert kept("OCSVM", "washer") == [3.0]


HELD.add(("10_embedding_methods", "kept"))


@held("10_embedding_methods", "holm")
def test_holm_rejects_as_the_stepwise_rule_does(holm):
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    for p in np.random.default_rng(3).random((50, 6)) ** 3:
        level, rejected = 0.05, set()
        for step, i in enumerate(np.argsort(p)):  # the smallest against level / 6, the next against level / 5, ...
            if p[i] > level / (6 - step):
                break
            rejected.add(int(i))
        assert set(np.flatnonzero(holm(p) <= level).tolist()) == rejected


@held("10_embedding_methods", "together")
def test_together_is_stouffers_two_sided_p(together):
    for p, sign in (((0.2, 0.04), (1, 1)), ((0.2, 0.04, 0.5), (1, -1, -1)), ((0.3,), (-1,))):
        comparisons = [SimpleNamespace(p=value, difference=s) for value, s in zip(p, sign, strict=True)]
        one_sided = [value / 2 if s > 0 else 1 - value / 2 for value, s in zip(p, sign, strict=True)]
        above = stats.combine_pvalues(one_sided, method="stouffer").pvalue
        assert together(comparisons) == pytest.approx(2 * min(above, 1 - above))


SMALL_PATCHCORE = pclib.PatchCore(resize=128, crop=112)
MAPS = {
    (which, "washer"): list(feature_maps(SMALL_PATCHCORE.backbone, pictures, "", silent))
    for which, pictures in (("good", WASHERS), ("new", TESTED))
}


@held(
    *("10_embedding_methods", "embedded", "anywhere", "own_place", "climbed"),
    **{"maps_of": MAPS, "backbone": SMALL_PATCHCORE.backbone},
)
def test_the_ladder_ends_in_patchcore_and_its_steps_are_what_they_say(embedded, anywhere, own_place, climbed):
    good = embedded(MAPS["good", "washer"], SMALL_PATCHCORE.backbone.layers, 3)
    new = embedded(MAPS["new", "washer"], SMALL_PATCHCORE.backbone.layers, 3)
    np.testing.assert_allclose(good, SMALL_PATCHCORE.embed(WASHERS, "", silent), rtol=1e-5, atol=1e-4)
    found = climbed("washer")
    detector = SMALL_PATCHCORE.remember(WASHERS, good, SMALL_PATCHCORE.select(good, silent))
    np.testing.assert_allclose(
        found["coreset = PatchCore-10"], detector.score_features(TESTED, new).maps.grids[0], rtol=1e-4
    )
    by_pairs = ((new[0, 3, 4] - good) ** 2).sum(-1)  # of one patch to all good ones
    assert found["two layers"][0, 3, 4] == pytest.approx(by_pairs.min(), rel=1e-4)
    assert found["own place"][0, 3, 4] == pytest.approx(by_pairs[:, 3, 4].min(), rel=1e-4)
    np.testing.assert_allclose(own_place(good, new), found["own place"])
    np.testing.assert_allclose(anywhere(good, new), found["two layers"])
    whole = [embedded(MAPS[which, "washer"], ("blocks.2",), 1).mean((1, 2)) for which in ("good", "new")]
    np.testing.assert_allclose(
        found["whole, blocks.2"][:, 0, 0], ((whole[1][:, None] - whole[0]) ** 2).sum(-1).min(1), rtol=1e-3
    )
    assert (found["two layers"] <= found["own place"] * (1 + 1e-5)).all()


RUNG = np.random.default_rng(4).random((7, 14, 14)).astype(np.float32)
TRUTH_10 = np.stack([FRAMING_10.mask(sample.load_mask()) for sample in TESTED.samples])


@held(
    *("10_embedding_methods", "judged"),
    **{"rungs": {("patches", "washer"): RUNG, ("whole", "washer"): RUNG[:, :1, :1]}, "framing": FRAMING_10},
    **{"labels": {"washer": LABELS}, "masks": {"washer": TRUTH_10}},
)
def test_judged_is_in_percent_and_only_of_images_where_there_is_no_grid(judged):
    maps = scoring.anomaly_map(RUNG, 112)
    image = metrics.auroc(LABELS, RUNG.max((1, 2)))
    expected = image, metrics.pixel_auroc(TRUTH_10, maps), metrics.pro(TRUTH_10, maps)
    assert judged("patches", "washer") == pytest.approx([100 * value for value in expected], abs=1e-4)
    assert judged("whole", "washer") == (pytest.approx(100 * metrics.auroc(LABELS, RUNG[:, 0, 0])), None, None)


def test_figures_of_methods_draw_the_numbers_that_they_are_given():
    steps = {"AUROC": {"washer": [50.0, None, 90.0]}}
    (line,) = method_plots.ladder(["a", "", "b"], steps).axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), [50, np.nan, 90])
    left, right = method_plots.costs({"x": 80.0, "y": 90.0}, {"MB": {"x": 1, "y": 100}, "s": {"x": 1, "y": 2}}).axes
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in left.lines] == [(1, 80), (100, 90)]
    assert (left.get_xscale(), right.get_xscale()) == ("log", "linear")
    two = method_plots.plane([np.eye(2)] * 3, ("u", "v"), np.zeros(2), np.diag([4.0, 1.0]), {"A": np.array([0, 2.0])})
    shown = {line.get_label(): line.get_xydata() for line in two.axes[0].lines}
    assert shown["Mahalanobis distance 3"].max(0) == pytest.approx([6, 3], rel=1e-3)
    assert shown["as far as A by Euclid"].max(0) == pytest.approx([2, 2], rel=1e-3)
