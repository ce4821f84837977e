"""Nearest neighbours and anomaly maps: pclib beside the flat index, brute force and map by map.

    python benchmarks/search.py [--rounds 3]

Bank and queries are EfficientNet-Lite0's features of embedded pictures: 10 % of 200 good ones, and all of 80 others.
"""

from __future__ import annotations

from pathlib import Path

import literal
import numpy as np
import torch
from side_by_side import Section, quiet, run, timed

from pclib.neighbors import MemoryBank
from pclib.patches import embed
from pclib.scoring import anomaly_map

IMAGES, GRID, CROP = 80, (28, 28), 224


def prepare(folder: Path) -> None:
    """bank.npy (15680, 1024) and queries.npy (62720, 1024)."""
    from pclib import PatchCore, Toybox

    category = Toybox("washer", train=200, good=30, defective=50)
    detector = PatchCore().fit(category.train, progress=quiet)
    np.save(folder / "bank.npy", detector.bank.vectors)
    pixels = np.stack([np.asarray(detector.framing.image(sample.load())) for sample in category.test])
    backbone = detector.backbone
    with torch.inference_mode():
        batches = [embed(backbone(backbone.normalised(four))) for four in np.array_split(pixels, 20)]
    np.save(folder / "queries.npy", torch.cat(batches).reshape(-1, 1024).numpy())


def nearest(which: str):
    def measure(folder: Path) -> dict:
        bank, queries = np.load(folder / "bank.npy"), np.load(folder / "queries.npy")
        if which == "pclib":
            held = MemoryBank(bank, np.zeros(len(bank), np.int32), np.zeros((len(bank), 2), np.int32))
            held.search(queries[:9])
            found = timed(lambda: held.search(queries)[1][:, 0], calls=1)
        elif which == "flat":
            import faiss

            index = faiss.IndexFlatL2(bank.shape[1])
            index.add(bank)
            found = timed(lambda: index.search(queries, 1)[1][:, 0], calls=1)
        else:
            from pclib._torchvision import import_torchvision

            import_torchvision()
            from anomalib.models.image.patchcore.torch_model import PatchcoreModel

            model = PatchcoreModel(["layer2"], backbone="resnet18", pre_trained=False).eval()
            model.memory_bank = torch.from_numpy(bank)
            x = torch.from_numpy(queries)
            with torch.no_grad():
                found = timed(lambda: model.nearest_neighbors(x, 1)[1].flatten().numpy(), calls=1)
        np.save(folder / f"{which}.npy", found["result"])
        return found

    return measure


def maps(ours: bool):
    def measure(folder: Path) -> dict:
        scores = np.random.default_rng(0).random((IMAGES, *GRID), dtype=np.float32)
        found = timed(lambda: anomaly_map(scores, CROP) if ours else literal.anomaly_map(scores, CROP))
        np.save(folder / f"maps-{ours}.npy", found["result"])
        return found

    return measure


def notes(medians: dict[str, dict], rates: dict[str, float]) -> list[str]:
    folder = Path(medians["scratch"]["folder"])
    bank, queries, ours, flat = (np.load(folder / f"{name}.npy") for name in ("bank", "queries", "pclib", "flat"))
    product = 2 * len(bank) * len(queries) * bank.shape[1] / 1e9 / rates["float32"]
    differing = np.flatnonzero(ours != flat)
    worse = [
        np.square(queries[i] - bank[ours[i]]).sum() > np.square(queries[i] - bank[flat[i]]).sum() for i in differing
    ]
    gap = np.abs(np.load(folder / "maps-True.npy") - np.load(folder / "maps-False.npy")).max()
    written = 4 * IMAGES * CROP**2 / 1e9 / medians["maps: pclib"]["seconds"]
    return [
        f"pclib names another nearest vector than the flat index for {len(differing)} of {len(queries):,} queries, and "
        f"a farther one for {sum(worse)}.",
        f"All distances as one matrix product at this machine's rate would take {product:.1f} s.",
        f"Maps differ by at most {gap:.0e} for scores in [0, 1]; pclib writes them at {written:.1f} GB/s, "
        f"{written / rates['bandwidth']:.0%} of a copy's bandwidth.",
    ]


SECTION = Section(
    title="Search and maps",
    work=f"{IMAGES} x 784 patches among 15,680 of width 1024, exact; {IMAGES} grids to {CROP} x {CROP} pixels",
    prepare=prepare,
    methods={
        "search: FAISS flat index": nearest("flat"),
        "search: anomalib": nearest("anomalib"),
        "search: pclib": nearest("pclib"),
        "maps: one by one": maps(False),
        "maps: pclib": maps(True),
    },
    ratios=[
        ("search: FAISS flat index", "search: pclib", None),
        ("search: anomalib", "search: pclib", None),
        ("maps: one by one", "maps: pclib", None),
    ],
    notes=notes,
)

if __name__ == "__main__":
    run(SECTION)
