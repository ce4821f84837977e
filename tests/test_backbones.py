from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pclib import backbones
from pclib._torchvision import import_torchvision
from pclib.backbones import Backbone, load_backbone
from pclib.framing import Framing


@pytest.fixture(scope="module")
def lite() -> Backbone:
    return load_backbone("tf_efficientnet_lite0")


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return backbones._build("tf_efficientnet_lite0")[0]


def test_the_lite_weights_are_renamed_to_just_the_networks_names_and_shapes(network):
    weights = backbones._lite_weights(backbones.weights_file("tf_efficientnet_lite0"), network)
    own = network.state_dict()
    assert list(weights) == list(own) and len(own) == 296
    assert all(weights[name].shape == own[name].shape for name in own)


def test_the_embedded_network_knows_a_cat(network):
    data = pytest.importorskip("skimage.data", reason="the cat comes with scikit-image")
    network.load_state_dict(backbones._lite_weights(backbones.weights_file("tf_efficientnet_lite0"), network))
    cat = np.asarray(Framing().image(Image.fromarray(data.chelsea())))[None]
    images = load_backbone("tf_efficientnet_lite0").normalised(cat).cpu()
    with torch.inference_mode():
        best = network.eval()(images)[0].topk(5).indices.tolist()
    assert set(best) & {281, 282, 285}  # ImageNet: tabby, tiger cat, Egyptian cat


def test_maps_have_the_strides_and_widths_of_their_layers(lite):
    assert lite.shapes(224) == {"blocks.2": (40, 28, 28), "blocks.4": (112, 14, 14)}
    assert lite.shapes(280) == {"blocks.2": (40, 35, 35), "blocks.4": (112, 18, 18)}


def test_the_cut_network_gives_what_the_whole_network_gives_there(lite, network):
    network.load_state_dict(backbones._lite_weights(backbones.weights_file("tf_efficientnet_lite0"), network))
    seen = {}
    handles = [
        network.eval()
        .get_submodule(layer)
        .register_forward_hook(lambda _m, _i, out, layer=layer: seen.update({layer: out}))
        for layer in lite.layers
    ]
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        network(images)
        maps = lite(images)
    for handle in handles:
        handle.remove()
    for layer in lite.layers:
        torch.testing.assert_close(maps[layer].cpu(), seen[layer], rtol=1e-4, atol=1e-4)
    assert not any("blocks.5" in name for name in lite.network.state_dict())


def test_folding_normalisations_changes_no_map_and_spares_convolutions_that_are_looked_at():
    network = import_torchvision().models.get_model("resnet18", weights=None).eval()
    generator = torch.Generator().manual_seed(0)
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            values.data.uniform_(0.5, 1.5, generator=generator)
    layers = ("layer1.0.conv1", "layer1.0.bn1", "layer2")
    seen: dict[str, torch.Tensor] = {}
    for layer in layers:
        network.get_submodule(layer).register_forward_hook(
            lambda _m, _i, out, layer=layer: seen.update({layer: out.clone()})  # the activation works in place
        )
    images = torch.rand(2, 3, 64, 64, generator=generator)
    with torch.inference_mode():
        network(images)
        expected = dict(seen)  # tracing calls the hooks again
        folded = Backbone(network, layers, name="resnet18")
        maps = folded(images)
    for layer in layers:
        torch.testing.assert_close(maps[layer].cpu(), expected[layer], rtol=1e-4, atol=1e-4)
    left = [name for name, m in folded.network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert left == ["layer1.0.bn1"]


def test_normalising_uses_the_networks_own_mean_and_std(lite):
    pixels = np.full((1, 2, 2, 3), 255, dtype=np.uint8)
    assert lite.mean == (0.5, 0.5, 0.5) and torch.all(lite.normalised(pixels) == 1)
    resnet = load_backbone("resnet18", weights="random")
    assert resnet.normalised(pixels)[0, :, 0, 0].tolist() == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-4)


@pytest.mark.parametrize("name", ["wide_resnet50_2", "timm/resnet18"])
def test_other_families_give_maps_too(name):
    shapes = load_backbone(name, weights="random").shapes(64)
    assert [shape[1:] for shape in shapes.values()] == [(8, 8), (4, 4)]


def test_random_weights_follow_their_seed_and_leave_torchs_generator_alone():
    state = torch.random.get_rng_state()
    digests = [load_backbone("resnet18", weights="random", seed=seed).digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_bfloat16_is_near_float32(lite):
    fast = load_backbone("tf_efficientnet_lite0", precision="bfloat16")
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        a, b = lite(images)["blocks.2"], fast(images)["blocks.2"]
    assert b.dtype == torch.float32 and 0 < (a - b).norm() / a.norm() < 0.05


def test_torchvision_weights_are_found_checked_and_loaded(tmp_path, monkeypatch):
    torch.hub.set_dir(tmp_path / "hub")
    source = import_torchvision().models.get_model("resnet18", weights=None)
    file = tmp_path / "resnet18-f37072fd.pth"
    torch.save(source.state_dict(), file)
    monkeypatch.setenv("PCLIB_WEIGHTS", str(tmp_path))
    with pytest.raises(ValueError, match="damaged, its SHA-256 does not begin with f37072fd"):
        load_backbone("resnet18")
    monkeypatch.setattr(backbones, "sha256", lambda _: "f37072fd" + "0" * 56)
    given = Backbone(source, ("layer2", "layer3"), name="the same")
    assert load_backbone("resnet18").digest == given.digest != load_backbone("resnet18", weights="random").digest
    torch.save({"other": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="the weights found for resnet18 belong to another network"):
        load_backbone("resnet18")
    monkeypatch.setenv("PCLIB_WEIGHTS", str(file))
    assert backbones.find_weights("resnet18-f37072fd.pth") == file


def test_missing_weights_are_named_with_what_to_do(tmp_path, monkeypatch):
    torch.hub.set_dir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"put wide_resnet50_2-95faca4d.pth .* named by PCLIB_WEIGHTS"):
        load_backbone("wide_resnet50_2")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"timm/resnet26d not found: put resnet26d\.safetensors"):
        load_backbone("timm/resnet26d")


def test_unknown_names_and_layers_are_refused_with_the_nearest_known():
    with pytest.raises(ValueError, match="unknown backbone 'wide_resnet50'; did you mean wide_resnet50_2"):
        load_backbone("wide_resnet50")
    with pytest.raises(ValueError, match="timm has no model 'resnet18x'; did you mean resnet18"):
        load_backbone("timm/resnet18x")
    with pytest.raises(ValueError, match=r"has no layer block\.2; it has blocks\.2"):
        load_backbone("tf_efficientnet_lite0", ["block.2"])
    with pytest.raises(ValueError, match="must be a list"):
        load_backbone("tf_efficientnet_lite0", "blocks.2")
    with pytest.raises(ValueError, match="must be a list"):
        load_backbone("tf_efficientnet_lite0", [])
    with pytest.raises(ValueError, match=r"from shallow to deep, but .* have \[4, 8\] rows"):
        load_backbone("tf_efficientnet_lite0", ["blocks.4", "blocks.2"]).shapes(64)
    with pytest.raises(ValueError, match=r"timm cannot make 'resnet18\.bogus'"):
        load_backbone("timm/resnet18.bogus")
    with pytest.raises(ValueError, match="must differ"):
        load_backbone("tf_efficientnet_lite0", ["blocks.2", "blocks.2"])


def test_a_layer_that_gives_no_map_is_refused():
    with pytest.raises(ValueError, match=r"layer 'avgpool' .*gives \(1, 512, 1, 1\)|not a map") as caught:
        load_backbone("resnet18", ["fc"], weights="random").shapes(64)
    assert "(1, 1000), not a map" in str(caught.value)


def test_device_and_precision_are_checked():
    with pytest.raises(ValueError, match=r"device 'abacus' cannot be used \(.*\); use device='auto' or 'cpu'"):
        load_backbone("resnet18", weights="random", device="abacus")
    with pytest.raises(ValueError, match="weights must be one of 'imagenet', 'random', got 'best'"):
        load_backbone("resnet18", weights="best")
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'bfloat16', got 'float16'"):
        load_backbone("resnet18", weights="random", precision="float16")
