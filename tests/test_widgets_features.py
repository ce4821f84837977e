"""The feature explorer: receptive fields against gradients, maps against plain arrays, view against state."""

from __future__ import annotations

import html
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pclib.backbones import Backbone, load_backbone
from pclib.extraction import silent
from pclib.framing import Framing, read
from pclib.widgets import FeatureExplorer, FeatureState
from pclib.widgets.features import EVERYTHING, SIDE, STAGES, pca_colours, receptive_fields

from .conftest import SMALL

CROP = SMALL["crop"]


@pytest.fixture(scope="module")
def lite() -> Backbone:
    return load_backbone("tf_efficientnet_lite0", STAGES)


@pytest.fixture(scope="module")
def samples(washers):
    return [washers.test[0], *washers.test[6:9]]  # a good one, three kinds of defect


@pytest.fixture
def state(lite, samples) -> FeatureState:
    return FeatureState(samples, backbone=lite, framing=Framing(**SMALL), picture=1)


@pytest.fixture(scope="module")
def maps(lite, samples) -> dict[str, np.ndarray]:
    pixels = read(samples, Framing(**SMALL), progress=silent).pixels
    with torch.inference_mode():
        return {layer: m.permute(0, 2, 3, 1).numpy() for layer, m in lite(lite.normalised(pixels)).items()}


def influenced(backbone: Backbone, crop: int, layer: str, row: int, column: int) -> np.ndarray:
    """(crop, crop): whether a pixel has any influence on a place's vector, followed back by gradients."""
    noise = np.random.default_rng(0).standard_normal((1, 3, crop, crop), dtype=np.float32)
    image = torch.from_numpy(noise).requires_grad_()
    (gradient,) = torch.autograd.grad(backbone(image)[layer][0, :, row, column].sum(), image)
    return (gradient[0] != 0).any(0).numpy()


def extent(found: np.ndarray) -> list[tuple[int, int]]:
    """First and last row and column with anything in it."""
    lines = (np.flatnonzero(found.any(axis)) for axis in (1, 0))
    return [(int(line[0]), int(line[-1])) for line in lines]


def predicted(backbone: Backbone, crop: int, layer: str, row: int, column: int) -> list[tuple[int, int]]:
    down, across = receptive_fields(backbone, crop)[layer]
    return [
        (max(0, int(i * r.step + r.first)), min(crop - 1, int(i * r.step + r.last)))
        for i, r in ((row, down), (column, across))
    ]


class TestReceptiveFields:
    @pytest.mark.parametrize("layer", STAGES)
    def test_of_the_real_network_reach_as_far_as_gradients_do(self, lite, layer):
        for crop in (112, 130):  # an odd number of pixels is left to pad at another side
            _, rows, columns = lite.shapes(crop)[layer]
            for place in ((rows // 2, columns // 2), (0, columns // 2), (rows - 1, columns - 1)):
                assert predicted(lite, crop, layer, *place) == extent(influenced(lite, crop, layer, *place))

    def test_are_those_of_the_lesson(self, lite):
        wide = {layer: down.last - down.first + 1 for layer, (down, _) in receptive_fields(lite, 224).items()}
        steps = [down.step for down, _ in receptive_fields(lite, 224).values()]
        assert [wide[layer] for layer in STAGES[:5]] == [7, 19, 67, 147, 339]
        assert steps == [2, 4, 8, 16, 16, 32, 32]

    @pytest.mark.parametrize(
        "layers",
        [
            (nn.Conv2d(3, 4, (3, 5), padding=(1, 0)), nn.Conv2d(4, 4, 3, dilation=2, padding="same")),
            (nn.Conv2d(3, 4, 4, 2, padding=1), nn.AvgPool2d(3, 2, 1), nn.GELU(), nn.Conv2d(4, 4, 2, padding="valid")),
        ],
    )
    def test_of_other_kernels(self, layers):
        torch.manual_seed(0)
        network = Backbone(nn.Sequential(*layers), [str(len(layers) - 1)], name="mine", device="cpu")
        (layer,), size = network.layers, 40
        _, rows, columns = network.shapes(size)[layer]
        for place in ((rows // 2, columns // 2), (rows - 1, 0)):
            assert predicted(network, size, layer, *place) == extent(influenced(network, size, layer, *place))

    def test_of_branches_are_those_of_the_farther_reaching(self):
        network = load_backbone("resnet18", weights="random")
        for place in ((7, 7), (0, 13)):
            assert predicted(network, 112, "layer2", *place) == extent(influenced(network, 112, "layer2", *place))

    def test_behind_a_pooling_of_the_whole_map_hold_everything(self, samples):
        network = load_backbone("timm/efficientnet_b0", ["blocks.1"], weights="random")
        down, across = receptive_fields(network, CROP)["blocks.1"]
        assert (down[1:], down.step) == (EVERYTHING[1:], 4) and across == down
        state = FeatureState(samples[:1], backbone=network, framing=Framing(**SMALL))
        assert state.field() == (0, 0, CROP, CROP) and "sees the whole picture" in state.words()

    def test_of_parts_that_are_not_known_are_refused(self):
        network = Backbone(nn.Sequential(nn.Conv2d(3, 4, 3), nn.PixelShuffle(2)), ["1"], name="mine")
        with pytest.raises(ValueError, match="not known what PixelShuffle in mine sees"):
            receptive_fields(network, 32)


class TestState:
    def test_starts_at_the_defect(self, state, samples):
        assert Framing(**SMALL).mask(samples[1].load_mask())[state.place]
        assert state.layer == "blocks.2" and state.view == "colours"

    def test_of_a_good_picture_in_the_middle(self, lite, samples):
        assert FeatureState(samples[:1], backbone=lite, framing=Framing(**SMALL)).place == (CROP // 2, CROP // 2)

    def test_map_and_distances_are_those_of_the_network(self, state, maps):
        for layer in STAGES:
            state.layer = layer
            row, column = state.cell()
            mine = maps[layer][1]
            wanted = np.sqrt(((mine - mine[row, column]) ** 2).sum(-1))
            np.testing.assert_allclose(state.map(), mine, atol=1e-3)
            np.testing.assert_allclose(state.distances(), wanted, atol=1e-3)
            (r, c), distance = state.nearest_other()
            assert (r, c) != (row, column)
            assert distance == pytest.approx(np.sort(wanted.ravel())[1], abs=1e-3)

    def test_colours_are_the_three_leading_directions(self, maps):
        features = maps["blocks.3"][1]
        colours, share = pca_colours(features)
        vectors = features.reshape(-1, features.shape[-1]).astype(float)
        spread, directions = np.linalg.eigh(np.cov(vectors.T))
        assert share == pytest.approx(spread[-3:].sum() / spread.sum(), abs=1e-4)
        for i in range(3):
            along = (vectors - vectors.mean(0)) @ directions[:, -1 - i]
            assert (
                abs(np.corrcoef(along.clip(*np.quantile(along, (0.01, 0.99))), colours[..., i].ravel())[0, 1]) > 0.999
            )
        assert colours.min() == 0 and colours.max() == 1

    def test_prepares_the_colours_of_all_maps(self, state):
        state.prepare()
        before = state._coloured.cache_info()
        for state.layer in STAGES:
            for state.picture in range(4):
                state.panels()
        assert before.misses == 4 * len(STAGES) == state._coloured.cache_info().misses

    def test_a_flat_map_and_one_of_two_channels_have_colours(self):
        colours, share = pca_colours(np.ones((4, 5, 8), np.float32))
        assert not colours.any() and share == 0
        colours, share = pca_colours(np.random.default_rng(0).standard_normal((4, 5, 2)).astype(np.float32))
        assert colours.shape == (4, 5, 3) and not colours[..., 2].any() and share == pytest.approx(1)

    def test_cells_hold_the_pixels_that_choose_them(self, lite, samples):
        state = FeatureState(samples[:1], backbone=lite, framing=Framing(112, 100))  # 100 pixels for 13 places
        for layer in STAGES:
            state.layer = layer
            for place in ((0, 0), (99, 99), (31, 64), (50, 7)):
                state.place = place
                box, cell = state.box(), state.cell()
                for row, column in ((box.top, box.left), (box.bottom - 1, box.right - 1)):
                    state.place = row, column
                    assert state.cell() == cell
                assert box.top <= place[0] < box.bottom and box.left <= place[1] < box.right

    def test_the_place_stays_when_layer_and_picture_change(self, state):
        before = state.place
        state.layer, state.picture = "blocks.6", 2
        assert state.place == before and state.cell() == tuple(part * 4 // CROP for part in before)

    def test_a_channel_that_the_layer_lacks_becomes_its_last(self, state):
        state.layer, state.view = "blocks.4", 100
        state.layer = "blocks.0"
        assert state.view == 15
        state.view, state.layer = "colours", "blocks.1"
        assert state.view == "colours"

    def test_words_hold_the_numbers(self, state, maps):
        state.place = 60, 50
        assert "40 numbers at each of 14 x 14 places, which are 8 pixels apart" in state.words()
        assert "place at row 7, column 6 stands for rows 56 to 63, columns 48 to 55 of the picture" in state.words()
        assert "67 x 67 pixels around row 63, column 55: rows 30 to 96, columns 22 to 88." in state.words()
        share = pca_colours(maps["blocks.2"][1])[1]
        assert f"three main directions, with {100 * share:.0f} % of its variance" in state.words()
        state.view = 7
        assert f"Channel 7 is {maps['blocks.2'][1][7, 6, 7]:#.3g} at this place" in state.words()
        state.place = 0, 0
        assert "rows 0 to 40, columns 0 to 40, and padding beyond the border" in state.words()
        far = np.median(np.linalg.norm(maps["blocks.2"][1] - maps["blocks.2"][1][0, 0], axis=-1))
        assert f"farther than {far:#.3g}" in state.words()

    def test_panels_keep_titles_and_size_and_say_numbers(self, state):
        titles = [panel.title for panel in state.panels()]
        for chosen in ({"layer": "blocks.0"}, {"view": 3}, {"picture": 0}, {"layer": "blocks.6", "place": (111, 0)}):
            for trait, value in chosen.items():
                setattr(state, trait, value)
            panels = state.panels()
            assert [panel.title for panel in panels] == titles
            assert all(panel.pixels.shape == (SIDE, SIDE, 3) and panel.pixels.dtype == np.uint8 for panel in panels)
        picture, shown, distances = (panel.alt for panel in panels)
        assert "rows 84 to 111, columns 0 to 27; its receptive field is rows 0 to 111, columns 0 to 111" in picture
        assert "Map of blocks.6, 4 x 4 places. Channel 3 is" in shown
        assert "Distances to the vector at row 3, column 0" in distances

    def test_the_place_itself_is_brightest_and_the_nearest_has_a_diamond(self, state):
        state.layer = "blocks.6"
        pixels, (row, column) = state.panels()[2].pixels, state.cell()
        side = SIDE // 4
        bright = pixels[10::side, 10::side].sum(-1)  # a pixel of each block, beside the marks
        assert bright.shape == state.grid() and np.argwhere(bright == bright.max()).tolist() == [[row, column]]
        (r, c), _ = state.nearest_other()
        white = (pixels[r * side : (r + 1) * side, c * side : (c + 1) * side] == 255).all(-1)
        assert white.sum() > 20

    @pytest.mark.parametrize(
        ("chosen", "message"),
        [
            ({"picture": 4}, r"picture must lie in \[0, 3\], got 4"),
            ({"picture": -1}, r"picture must lie in \[0, 3\]"),
            ({"layer": "blocks.9"}, "layer must be one of 'blocks.0'.*got 'blocks.9'"),
            ({"view": 40}, r"view must be 'colours' or a channel of blocks.2 in \[0, 39\], got 40"),
            ({"view": "grey"}, "got 'grey'"),
            ({"place": (112, 0)}, r"a row and a column in \[0, 112\), got \(112, 0\)"),
            ({"place": (0, -1)}, "place must be"),
        ],
    )
    def test_refuses_what_there_is_not(self, state, lite, samples, chosen, message):
        ((trait, value),) = chosen.items()
        before = getattr(state, trait)
        with pytest.raises(ValueError, match=message):
            setattr(state, trait, value)
        assert getattr(state, trait) == before
        with pytest.raises(ValueError, match=message):
            FeatureState(samples, backbone=lite, framing=Framing(**SMALL), **chosen)

    def test_refuses_an_unknown_layer_whatever_comes_with_it(self, lite, samples):
        with pytest.raises(ValueError, match="layer must be one of"):
            FeatureState(samples, backbone=lite, framing=Framing(**SMALL), view=3, layer="blocks.9")

    def test_refuses_what_it_cannot_look_at(self, lite, samples):
        with pytest.raises(ValueError, match="no pictures to look at"):
            FeatureState([], backbone=lite)
        with pytest.raises(ValueError, match="smaller than the crop"):
            FeatureState(samples, backbone=lite)
        with pytest.raises(ValueError, match="layers are those of the backbone"):
            FeatureState(samples, backbone=lite, layers=["blocks.1"])
        pooled = Backbone(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(110)), ["1"], name="mine", device="cpu")
        with pytest.raises(ValueError, match="map of 1 has a single place"):
            FeatureState(samples, backbone=pooled, framing=Framing(**SMALL))

    def test_layers_can_be_chosen_by_name(self, samples):
        state = FeatureState(samples[:1], layers=["blocks.3", "blocks.5"], framing=Framing(**SMALL))
        assert state.backbone.layers == ("blocks.3", "blocks.5") and state.layer == "blocks.3"
        assert FeatureState(samples[:1], framing=Framing(**SMALL)).backbone.layers == STAGES


class TestExplorer:
    @pytest.fixture
    def view(self, lite, samples) -> FeatureExplorer:
        return FeatureExplorer(samples, backbone=lite, framing=Framing(**SMALL), picture=1, place=(60, 50))

    def test_follows_the_state(self, view):
        pictures = {title: picture.data for title, picture in view._pictures.items()}
        view.state.layer, view.state.view, view.state.picture = "blocks.4", 3, 2
        assert view._controls["layer"].value == "blocks.4" and view._controls["picture"].value == 2
        slider = view._controls["view"]
        assert slider.stops[slider.index] == "channel 3" and len(slider.stops) == 1 + 112
        assert view._words.text == view.state.words()
        assert all(pictures[title] != picture.data for title, picture in view._pictures.items())

    def test_the_state_follows_the_controls(self, view):
        view._controls["layer"].value = "blocks.1"
        view._controls["picture"].value = 3
        view._controls["view"].index = 24
        assert (view.state.layer, view.state.picture, view.state.view) == ("blocks.1", 3, 23)
        view._controls["layer"].value = "blocks.0"
        assert view.state.view == 15 and view._controls["view"].index == 16
        view._controls["view"].index = 0
        assert view.state.view == "colours"

    def test_every_picture_can_be_pointed_at_and_moved_in(self, view):
        for picture in view._pictures.values():
            picture.pointed = [0.0, 0.999]
            assert view.state.place == (111, 0) and view.state.cell() == (13, 0)
            picture.stepped = [2, 1]  # there is no row further down
            assert view.state.cell() == (13, 2)
            picture.stepped = [1, -2]
            assert view.state.cell() == (10, 1)

    def test_its_figure_has_alt_texts_and_words_and_is_small(self, view):
        page = view.figure()._repr_html_()
        assert page.count("alt=") == 3 and view.state.panels()[0].alt in page
        assert all(html.escape(line) in page for line in view.state.words().splitlines())
        assert len(page) < 300_000

    def test_arguments_reproduce_a_state(self, view, lite, samples):
        view.state.layer, view.state.view, view.state.place = "blocks.1", 9, (3, 77)
        again = FeatureExplorer(
            samples, backbone=lite, framing=Framing(**SMALL), picture=1, layer="blocks.1", view=9, place=(3, 77)
        )
        assert again.figure().words == view.figure().words
        for title, picture in view._pictures.items():
            one, other = (Image.open(io.BytesIO(data)) for data in (picture.data, again._pictures[title].data))
            assert one == other
