from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from literal import embedding as literal

from pclib.patches import embed, mean_pooling, pooling_filters


def random_maps(seed: int, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.golden
def test_embedding_agrees_with_the_recorded_official_code(golden):
    for name, case in json.loads((golden / "patchcore/cases.json").read_text()).items():
        with np.load(golden / f"patchcore/{name}.npz") as recorded:
            maps = [torch.from_numpy(recorded[f"in_l{i}"]) for i in range(len(case["layers"]))]
            expected = recorded["embedding"]
        sizes = case["patchsize"], case["pretrain_embed_dimension"], case["target_embed_dimension"]
        found = embed(maps, *sizes).numpy()
        assert found.shape == expected.shape, name
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max(), name


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    channels=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    grid=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    patchsize=st.sampled_from([1, 3, 5]),
    dims=st.tuples(st.integers(1, 80), st.integers(1, 80)),
)
def test_embedding_equals_the_literal_operator_at_any_shape(seed, channels, grid, patchsize, dims):
    shapes = [(2, c, -(-grid[0] // 2**i), -(-grid[1] // 2**i)) for i, c in enumerate(channels)]
    maps = random_maps(seed, *shapes)
    torch.testing.assert_close(embed(maps, patchsize, *dims), literal(maps, patchsize, *dims), rtol=1e-4, atol=1e-5)


def test_wide_resnet50s_pooling_is_two_small_filters():
    (first2, layer2), (first3, layer3) = pooling_filters((512, 1024))
    assert (first2, first3) == (0, 512)
    [(channels, kernels)] = layer2
    assert torch.equal(channels, torch.arange(512))
    torch.testing.assert_close(kernels.flatten(1), torch.tensor([0.1] * 4 + [0.2] + [0.1] * 4).expand(512, 9))
    (even, of_even), (odd, of_odd) = layer3
    assert torch.equal(even, torch.arange(0, 1024, 2)) and torch.equal(odd, torch.arange(1, 1024, 2))
    for kernels in (of_even, of_odd):
        torch.testing.assert_close(kernels, torch.full((512, 1, 3, 3), 1 / 18))


def test_with_three_layers_the_first_reaches_just_the_first_third():
    maps = random_maps(0, (1, 256, 8, 8), (1, 512, 4, 4), (1, 1024, 2, 2))
    maps[0].zero_()
    embedding = embed(maps)
    assert torch.all(embedding[..., :341] == 0)
    assert torch.all(embedding[..., 341:].abs().sum((0, 1, 2)) > 0)  # the 342nd mixes layers 1 and 2


def test_an_image_gets_the_same_patches_alone_as_in_a_batch():
    maps = random_maps(1, (3, 40, 28, 28), (3, 112, 14, 14))
    assert torch.equal(embed([m[1:2] for m in maps])[0], embed(maps)[1])


def test_pooling_rows_are_means():
    matrix = mean_pooling(10, 4)
    torch.testing.assert_close(matrix.sum(1), torch.ones(4, dtype=torch.float64))
    assert torch.equal(matrix[1].nonzero().flatten(), torch.tensor([2, 3, 4]))


def test_maps_may_be_named_and_may_be_numpy():
    maps = random_maps(2, (1, 4, 6, 6), (1, 8, 3, 3))
    assert torch.equal(embed({"a": maps[0], "b": maps[1]}, 3, 16, 16), embed(maps, 3, 16, 16))
    assert torch.equal(embed([m.numpy() for m in maps], 3, 16, 16), embed(maps, 3, 16, 16))


def test_bad_maps_and_sizes_are_refused():
    with pytest.raises(ValueError, match="patchsize must be odd"):
        embed(random_maps(0, (1, 4, 6, 6)), patchsize=2)
    with pytest.raises(ValueError, match="maps are empty"):
        embed([])
    with pytest.raises(ValueError, match=r"with the same n, got \[\(1, 4, 6, 6\), \(2, 4, 6, 6\)\]"):
        embed(random_maps(0, (1, 4, 6, 6), (2, 4, 6, 6)))
