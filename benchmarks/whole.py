"""End to end: fit on 200 pictures and score 80, by pclib, by the literal pipeline and by anomalib, stage by stage.

    python benchmarks/whole.py [--rounds 3]

All read the same files and use EfficientNet-Lite0 with the same weights. The two loops that take minutes are timed
between their 50th and 200th pick and scaled; the picks that their banks are then made of are found by pclib, which the
clock leaves out: it picks what they would have picked.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path

import literal
import numpy as np
import torch
from PIL import Image
from side_by_side import Section, Watch, quiet, run

TRAIN, GOOD, DEFECTIVE, SHARE, CROP = 200, 30, 50, 0.1, 224
PREFIX = 50, 200
NETWORK, LAYERS = "tf_efficientnet_lite0", ("blocks.2", "blocks.4")
STAGES = ("read", "backbone", "embedding", "coreset", "search", "maps")


class Stages:
    """Seconds per stage, and the memory that all of them take."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str):
        began = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - began


def prepare(folder: Path) -> None:
    from pclib import Toybox
    from pclib.export import export

    export([Toybox("washer", train=TRAIN, good=GOOD, defective=DEFECTIVE)], folder / "data")


def files(folder: Path) -> tuple[list[Path], list[Path]]:
    train, test = (sorted((folder / "data" / "washer" / split).glob("*/*.png")) for split in ("train", "test"))
    assert (len(train), len(test)) == (TRAIN, GOOD + DEFECTIVE)
    return train, test


def labels_of(test: list[Path]) -> list[int]:
    return [int(path.parent.name != "good") for path in test]


def report(stages: Stages, memory: Watch, labels: list[int], scores: np.ndarray) -> dict:
    from pclib.metrics import auroc

    seconds = {f"stage: {name}": value for name, value in stages.seconds.items()}
    return {
        "seconds": sum(stages.seconds.values()),
        "MiB": memory.most,
        **seconds,
        "image AUROC": auroc(labels, scores),
    }


def pclib(folder: Path) -> dict:
    """PatchCore.fit and .score, with a clock around the parts that they call; "other" is what lies between these."""
    from pclib import PatchCore, open_category
    from pclib import patchcore as module

    detector = PatchCore(NETWORK, coreset=SHARE)
    category = open_category(folder / "data" / "washer")
    stages = Stages()
    names = {"read": "read", "embed": "embedding", "greedy": "coreset", "nearest": "search"}
    for function, name in names.items():
        setattr(module, function, clocked(getattr(module, function), stages, name))
    detector.backbone.__class__.__call__ = clocked(detector.backbone.__class__.__call__, stages, "backbone")
    with Watch() as memory:
        began = time.perf_counter()
        detector.fit(category.train, progress=quiet)
        scores = detector.score(category.test, progress=quiet)
        with stages.stage("maps"):
            assert scores.pixel is not None
        whole = time.perf_counter() - began
    stages.seconds["other"] = whole - sum(stages.seconds.values())
    return report(stages, memory, [sample.label for sample in category.test], scores.image)


def clocked(function, stages: Stages, name: str):
    def call(*arguments, **options):
        with stages.stage(name):
            return function(*arguments, **options)

    return call


def framed(path: Path) -> np.ndarray:
    """(3, CROP, CROP) float32: the shorter side to 256 pixels, then the middle; Lite0's mean and std are one half."""
    image = Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
    margin = (256 - CROP) // 2
    pixels = np.asarray(image.crop((margin, margin, margin + CROP, margin + CROP)), dtype=np.float32)
    return (pixels.transpose(2, 0, 1) / 255 - 0.5) / 0.5


def scaled(loop, size: int) -> float:
    """Seconds of `size` picks, from those of two prefixes."""
    seconds = []
    for picks in PREFIX:
        began = time.perf_counter()
        loop(picks)
        seconds.append(time.perf_counter() - began)
    return seconds[0] + (seconds[1] - seconds[0]) / (PREFIX[1] - PREFIX[0]) * (size - PREFIX[0])


def timm_network():
    """timm's feature extractor, as anomalib and many others use it, with the embedded weights."""
    from pclib._torchvision import import_torchvision

    import_torchvision()
    import timm

    from pclib.backbones import _lite_weights

    whole = timm.create_model(NETWORK)
    weights = _lite_weights(NETWORK, whole)
    network = timm.create_model(NETWORK, features_only=True, out_indices=(2, 3)).eval()
    network.load_state_dict({name: value for name, value in weights.items() if name in network.state_dict()})
    return network


def literal_pipeline(folder: Path) -> dict:
    import faiss

    from pclib.coreset import greedy, random_projection

    torch.set_grad_enabled(False)
    network = timm_network()
    train, test = files(folder)
    stages = Stages()

    def features(paths: list[Path]) -> np.ndarray:
        found = []
        for first in range(0, len(paths), 2):
            with stages.stage("read"):
                batch = torch.from_numpy(np.stack([framed(path) for path in paths[first : first + 2]]))
            with stages.stage("backbone"):
                maps = network(batch)
            with stages.stage("embedding"):
                found.append(literal.embedding(maps, 3, 1024, 1024).numpy())
        return np.concatenate(found).reshape(-1, 1024)

    with Watch() as memory:
        remembered = features(train)
        with stages.stage("coreset"):
            projected = random_projection(remembered, 128, np.random.default_rng(0))
        size = int(len(remembered) * SHARE)
        stages.seconds["coreset"] += scaled(lambda n: literal.authors_loop(projected, n, range(10)), size)
    bank = remembered[greedy(remembered, size, progress=quiet).indices]
    with memory:
        queries = features(test)
        with stages.stage("search"):
            index = faiss.IndexFlatL2(1024)
            index.add(bank)
            patches = index.search(queries, 1)[0].reshape(len(test), 28, 28)
        with stages.stage("maps"):
            literal.anomaly_map(patches, CROP)
    return report(stages, memory, labels_of(test), patches.max((1, 2)))


def anomalib(folder: Path) -> dict:
    from pclib._torchvision import import_torchvision
    from pclib.coreset import greedy

    import_torchvision()
    from anomalib.models.components import KCenterGreedy
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    torch.set_grad_enabled(False)
    names = ["blocks.2", "blocks.4"]
    model = PatchcoreModel(names, backbone=NETWORK, pre_trained=False)
    model.feature_extractor.feature_extractor.load_state_dict(timm_network().state_dict())
    train, test = files(folder)
    stages = Stages()

    def batches(paths: list[Path]):
        for first in range(0, len(paths), 32):  # its default for training and evaluation
            with stages.stage("read"):
                batch = torch.from_numpy(np.stack([framed(path) for path in paths[first : first + 32]]))
            yield batch

    generator, pooler = model.generate_embedding, model.feature_pooler.forward
    model.feature_extractor.forward = clocked(model.feature_extractor.forward, stages, "backbone")
    model.feature_pooler.forward = clocked(pooler, stages, "embedding")
    model.generate_embedding = clocked(generator, stages, "embedding")
    model.nearest_neighbors = clocked(model.nearest_neighbors, stages, "search")
    model.compute_anomaly_score = clocked(model.compute_anomaly_score, stages, "search")
    model.anomaly_map_generator.forward = clocked(model.anomaly_map_generator.forward, stages, "maps")
    with Watch() as memory:
        model.train()
        model.feature_extractor.eval()
        for batch in batches(train):
            model(batch)
        remembered = torch.vstack(model.embedding_store)
        size = int(len(remembered) * SHARE)

        def loop(picks: int) -> None:
            KCenterGreedy(remembered, sampling_ratio=(picks + 0.5) / len(remembered)).select_coreset_idxs()

        stages.seconds["coreset"] += scaled(loop, size)
    model.memory_bank = remembered[greedy(remembered, size, project=None, start=0, progress=quiet).indices]
    with memory:
        model.eval()
        scores = np.concatenate([model(batch).pred_score.flatten().numpy() for batch in batches(test)])
    return report(stages, memory, labels_of(test), scores)


def notes(medians: dict[str, dict], rates: dict[str, float]) -> list[str]:
    told = ["The coreset's seconds of the literal pipeline and of anomalib are scaled from picks 51 to 200."]
    for name in ("literal pipeline", "anomalib", "pclib"):
        if name in medians:
            stages = [
                f"{k.removeprefix('stage: ')} {v:.3g}" for k, v in medians[name].items() if k.startswith("stage: ")
            ]
            told.append(f"{name}: {', '.join(stages)} s; image AUROC {medians[name]['image AUROC']:.4f}.")
    return told


SECTION = Section(
    title="End to end",
    work=f"fit on {TRAIN} and score {GOOD + DEFECTIVE} pictures of toybox/washer, EfficientNet-Lite0, {SHARE:.0%} kept",
    prepare=prepare,
    methods={"literal pipeline": literal_pipeline, "anomalib": anomalib, "pclib": pclib},
    ratios=[("literal pipeline", "pclib", 15), ("anomalib", "pclib", 10)],
    notes=notes,
)

if __name__ == "__main__":
    run(SECTION)
