from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pclib._torchvision import import_torchvision
from pclib.datasets import open_images
from pclib.framing import Box, Framing, read


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(300, 300), (256, 256), (512, 522), (333, 200), (257, 400)])
def test_framing_equals_torchvisions_resize_and_centre_crop(size):
    import_torchvision()
    from torchvision.transforms import functional as tv

    image = noise(*size)
    expected = tv.center_crop(tv.resize(image, 256), [224, 224])
    assert np.array_equal(np.asarray(Framing().image(image)), np.asarray(expected))


def test_the_resize_is_frozen_to_these_bytes():
    framed = Framing(48, 32).image(noise(100, 80))
    assert hashlib.sha256(framed.tobytes()).hexdigest()[:16] == "b5b08de5a8bfcc3f"


def test_only_mask_pixels_that_stay_wholly_defect_count():
    mask = np.zeros((512, 512), dtype=bool)
    mask[200:300, 200:300] = True
    framed = Framing().mask(mask)
    soft = np.asarray(Framing().image(Image.fromarray(mask.astype(np.uint8) * 255)))
    assert framed.sum() == (soft == 255).sum() < (soft > 0).sum()


@given(
    st.tuples(st.integers(224, 900), st.integers(224, 900)),
    st.tuples(st.integers(0, 200), st.integers(0, 200)),
)
def test_a_box_of_the_crop_lands_inside_the_original_picture(size, corner):
    box = Framing().in_source(Box(*corner, corner[0] + 24, corner[1] + 24), size)
    assert 0 <= box.top < box.bottom <= size[1] and 0 <= box.left < box.right <= size[0]


def test_a_box_goes_back_to_where_it_came_from():
    image = np.zeros((900, 900, 3), dtype=np.uint8)
    image[400:440, 600:640] = 255
    lit = np.asarray(Framing().image(Image.fromarray(image)))[..., 0] > 127
    rows, columns = np.nonzero(lit)
    box = Framing().in_source(Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1), (900, 900))
    assert np.abs(np.array(box) - (400, 600, 440, 640)).max() <= 3


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="resize must be at least crop, got resize=200, crop=224"):
        Framing(200, 224)
    with pytest.raises(ValueError, match="crop must be a whole number of at least 1, got 0"):
        Framing(256, 0)


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        noise(240, 240, seed=i).save(tmp_path / f"{i}.png")
    return tmp_path


def test_reading_frames_all_pictures_in_order(folder):
    pictures = read(open_images([folder]), Framing())
    assert pictures.pixels.shape == (3, 224, 224, 3) and pictures.pixels.dtype == np.uint8
    assert np.array_equal(pictures.pixels[1], np.asarray(Framing().image(noise(240, 240, seed=1))))
    assert pictures.digests[0] == hashlib.sha256(noise(240, 240).tobytes()).hexdigest()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_picture_is_named(folder, suffix):
    whole = folder / f"cut.{suffix}"
    noise(240, 240).save(whole)
    whole.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(ValueError, match=rf"1 of 4 pictures cannot be used: .*cut\.{suffix}.*skip_bad=True"):
        read(open_images([folder]), Framing())


def test_skipping_bad_pictures_warns_and_goes_on(folder):
    (folder / "text.png").write_text("no picture")
    with pytest.warns(UserWarning, match=r"skipped .*text\.png"):
        pictures = read(open_images([folder]), Framing(), skip_bad=True)
    assert len(pictures.samples) == 3


def test_nothing_left_after_skipping_is_refused(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="none of 1 pictures can be used"):
        read(open_images([tmp_path]), Framing(), skip_bad=True)


def test_a_picture_smaller_than_the_crop_is_refused_with_its_size(folder):
    noise(300, 200).save(folder / "small.png")
    with pytest.raises(ValueError, match=r"small\.png: 300 x 200 pixels is smaller than the crop of 224"):
        read(open_images([folder]), Framing())
