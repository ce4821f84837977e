"""The backbone: pclib beside the network as it comes, in float32 and bfloat16.

python benchmarks/backbone.py [--rounds 3]
"""

from __future__ import annotations

from pathlib import Path

import torch
from side_by_side import Section, run, timed

from pclib import load_backbone
from pclib._device import batch_size
from pclib._torchvision import import_torchvision

NETWORKS = {
    "WideResNet50": ("wide_resnet50_2", 16, (2, 3)),
    "EfficientNet-Lite0": ("tf_efficientnet_lite0", 64, (2, 3)),
}
PLAIN_BATCH = 2  # the authors' training script


def batches(images: int, size: int) -> list[torch.Tensor]:
    drawn = torch.randn(images, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    return list(drawn.split(size))


def plain(network: str):
    def measure(folder: Path) -> dict:
        import_torchvision()
        import timm

        name, images, layers = NETWORKS[network]
        torch.set_grad_enabled(False)
        given = timm.create_model(name, pretrained=False, features_only=True, out_indices=layers).eval()
        work = batches(images, PLAIN_BATCH)
        return timed(lambda: [given(batch) for batch in work], calls=2)

    return measure


def ours(network: str, precision: str):
    def measure(folder: Path) -> dict:
        from torch.utils.flop_counter import FlopCounterMode

        name, images, _ = NETWORKS[network]
        torch.set_grad_enabled(False)
        backbone = load_backbone(name, weights="random", device="cpu", precision=precision)
        work = [
            batch.to(memory_format=torch.channels_last)
            for batch in batches(images, batch_size(backbone.device, precision))
        ]
        with FlopCounterMode(display=False) as counter:
            backbone(work[0][:1])
        with torch.inference_mode():
            found = timed(lambda: [backbone(batch) for batch in work], calls=2)
        return {**found, "Gflop": counter.get_total_flops() * images / 1e9}

    return measure


def notes(medians: dict[str, dict], rates: dict[str, float]) -> list[str]:
    told = [f"The plain network runs {PLAIN_BATCH} images at a time; pclib 4 in float32 and 8 in bfloat16."]
    for network in NETWORKS:
        for precision in ("float32", "bfloat16"):
            found = medians[f"{network}: pclib, {precision}"]
            rate = found["Gflop"] / found["seconds"]
            told.append(
                f"{network}, {precision}: {NETWORKS[network][1] / found['seconds']:.1f} images/s, {rate:.0f} Gflop/s, "
                f"{rate / rates[precision]:.0%} of the rate of large matrix products."
            )
    return told


SECTION = Section(
    title="Backbone",
    work="images of 224 x 224 pixels to two layers' maps (16 through WideResNet50, 64 through EfficientNet-Lite0)",
    methods={
        f"{network}: {name}": method
        for network in NETWORKS
        for name, method in {
            "plain": plain(network),
            "pclib, float32": ours(network, "float32"),
            "pclib, bfloat16": ours(network, "bfloat16"),
        }.items()
    },
    ratios=[
        (f"{network}: plain", f"{network}: pclib, {precision}", None)
        for network in NETWORKS
        for precision in ("float32", "bfloat16")
    ],
    notes=notes,
)

if __name__ == "__main__":
    run(SECTION)
