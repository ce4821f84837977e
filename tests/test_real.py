"""Real MVTec AD categories against what the authors' own code scores on them with the same backbone."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pclib import evaluate, open_category, sweep, tables
from pclib.backbones import load_backbone
from pclib.configurations import EMBEDDED
from pclib.detector import Scores
from pclib.extraction import silent
from pclib.framing import Framing, read
from pclib.measuring import open_method
from pclib.patchcore import PatchCore
from pclib.store import Store

pytestmark = pytest.mark.real
SMALL = ("hazelnut", "hazelnut_toy", "transistor")  # bottle: benchmarks/real.py


@pytest.fixture(scope="module")
def reference(real) -> dict[tuple[str, float], list[tuple[float, float]]]:
    """(category, share) to (image AUROC, pixel AUROC) per seed, read from the reference's table."""
    rows = re.findall(
        r"^\| (\w+) \| ([\d.]+) \| \d \| ([\d.]+) \| ([\d.]+) \|$", (real / "REFERENCE.md").read_text(), re.M
    )
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for category, share, image, pixel in rows:
        found.setdefault((category, float(share)), []).append((float(image), float(pixel)))
    return found


def test_real_categories_go_through_a_sweep_and_agree_with_the_reference(real, reference, tmp_path):
    """The path that fills tables S1-S4, on a folder of categories: one group each, two shares, kept and read back."""
    rows = [EMBEDDED[f"PatchCore-{n}"].changed(f"PatchCore-{n} at 224", resize=256, crop=224) for n in (10, 1)]
    plan, store = sweep.plan("S1", rows, ["hazelnut", "transistor"], data=str(real)), Store(tmp_path)
    assert sweep.run(plan, store).failed == {} and sweep.run(plan, store).already == 4
    for table, metric in (("S1", 0), ("S2", 1)):
        found = tables.measured(table, store, data=str(real), methods=rows)
        for category in ("hazelnut", "transistor"):
            for row in rows:
                seeds = [100 * seed[metric] for seed in reference[category, row.parameters["coreset"]]]
                spread = 0.5 + 2 * (max(seeds) - min(seeds))
                assert abs(found.loc[row.name, category] - np.mean(seeds)) < spread, (table, category, row.name)
    assert "published" not in tables.compare("S1", store, data=str(real), methods=rows)


def measured(real, category: str, share: float, seed: int = 0) -> tuple[float, float]:
    samples = open_category(real / category)
    detector = PatchCore(load_backbone("tf_efficientnet_lite0"), coreset=share, seed=seed)
    found = evaluate(detector.fit(samples.train).score(samples.test))
    return found.image_auroc, found.pixel_auroc


@pytest.mark.parametrize("category", SMALL)
def test_the_full_memory_scores_as_the_authors_code_does(real, reference, category):
    (expected,) = reference[category, 1.0]
    assert measured(real, category, 1.0) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("category", SMALL)
@pytest.mark.parametrize("share", [0.1, 0.01])
def test_a_coreset_scores_within_the_spread_over_seeds(real, reference, category, share):
    images, pixels = np.array(reference[category, share]).T
    spread = max(0.003, np.ptp([pixel for _, pixel in reference[category, 0.01]]))  # known at 1 % only
    found = [measured(real, category, share, seed) for seed in range(3)]
    for image, pixel in found:
        assert image == pytest.approx(images.mean(), abs=0.005)
        assert pixels.min() - spread <= pixel <= pixels.max() + spread


@pytest.fixture(scope="module")
def bottles(real):
    """Bottles, framed; and how well they are told apart by the distance to the mean of the good pictures."""
    category, framing = open_category(real / "bottle"), Framing()
    train, test = (read(samples, framing, progress=silent) for samples in (category.train, category.test))
    maps = np.abs(test.pixels - train.pixels.mean(0, dtype="f4")).mean(3)
    maps = np.stack([gaussian_filter(one, 4) for one in maps])
    return train, test, evaluate(Scores(maps.max((1, 2)), maps, test.samples, framing), replicates=0)


@pytest.mark.parametrize("name", ["SPADE", "PaDiM", "PaDiM*", "MahalanobisAD plain", "OCSVM"])
def test_the_methods_next_door_find_real_defects_better_than_the_mean_picture_does(bottles, name):
    train, test, baseline = bottles
    detector = open_method(EMBEDDED[name].changed(name, resize=256, crop=224)).fit_pictures(train, silent)
    found = evaluate(detector.score_pictures(test, silent), replicates=0)
    assert found.image_auroc > 0.95 > 0.9 > baseline.image_auroc
    if found.pro is not None:
        assert found.pixel_auroc > 0.95 > 0.9 > baseline.pixel_auroc and found.pro > 0.85 > 0.7 > baseline.pro
