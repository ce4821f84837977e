from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pclib import datasets
from pclib.datasets import check_masks, hold_out, open_category, open_images
from pclib.samples import Category


def picture(path: Path, size: tuple[int, int] = (80, 60), mode: str = "RGB", value: int = 200) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), value, dtype=np.uint8)
    pixels[: size[1] // 2] = 20
    Image.fromarray(pixels).convert(mode, dither=Image.Dither.NONE).save(path)
    return path


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    root = tmp_path / "bottle"
    for i in range(3):
        picture(root / f"train/good/{i:03d}.png")
        picture(root / f"test/good/{i:03d}.png")
        picture(root / f"test/broken/{i:03d}.png")
        picture(root / f"ground_truth/broken/{i:03d}_mask.png", mode="1")
    return root


def test_mvtec_layout_gives_train_test_defects_and_masks(mvtec):
    category = open_category(mvtec)
    assert category.name == "bottle"
    assert [s.name for s in category.train] == [f"train/good/{i:03d}.png" for i in range(3)]
    assert category.defects == ["broken"]
    assert [s.label for s in category.test] == [1, 1, 1, 0, 0, 0]
    bad, good = category.test[0], category.test[-1]
    assert bad.load().mode == "RGB" and bad.size == (80, 60)
    assert bad.load_mask().shape == (60, 80) and bad.load_mask().mean() == 0.5
    assert not good.load_mask().any()
    assert repr(category) == "Category('bottle': 3 to train on; to test: 3 good, 3 broken)"


def test_a_path_works_as_text_and_samples_travel_to_other_processes(mvtec):
    category = open_category(str(mvtec))
    assert pickle.loads(pickle.dumps(category.test[0])) == category.test[0]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".bmp", ".tif", ".tiff"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_common_format_opens_as_rgb(tmp_path, suffix, mode):
    picture(tmp_path / "good" / f"a{suffix}", mode=mode)
    image = open_category(tmp_path).train[0].load()
    assert image.mode == "RGB" and image.size == (80, 60)


def test_transparent_and_16_bit_pictures_open_as_rgb(tmp_path):
    picture(tmp_path / "a.png", mode="RGBA")
    deep = np.full((60, 80), 200 * 256 + 7, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "b.png")
    rgba, grey = (s.load() for s in open_category(tmp_path).train)
    assert rgba.mode == grey.mode == "RGB"
    assert grey.getpixel((0, 0)) == (200, 200, 200)


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    path = picture(tmp_path / "a.jpg")
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # a quarter turn
        image.save(path, exif=exif)
        image.save(tmp_path / "b.tif", exif=exif)
    deep = Image.fromarray(np.full((60, 80), 200 * 256, dtype=np.uint16))
    deep.save(tmp_path / "c.png", exif=exif)
    for sample in open_category(tmp_path).train:
        assert sample.size == sample.load().size == (60, 80)


def test_a_mask_without_a_defect_is_warned_of(mvtec):
    Image.new("L", (80, 60)).save(mvtec / "ground_truth/broken/001_mask.png")
    with pytest.warns(UserWarning, match=r"test/broken/001\.png: its mask is all black"):
        check_masks(open_category(mvtec).test)


@pytest.mark.parametrize(
    "pixels", [np.full((60, 80), 3000, "u2"), np.full((60, 80), 0.5, "f4"), np.full((60, 80), 9, "i4")]
)
def test_deep_pictures_of_unknown_range_are_refused(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: grey values from .* do not fill 16 bits"):
        open_category(tmp_path).train[0].load()


def test_masks_pair_by_name_with_or_without_the_word_mask(mvtec):
    folder = mvtec / "ground_truth/broken"
    (folder / "001_mask.png").rename(folder / "001.png")
    assert [s.mask_path.name for s in open_category(mvtec).test[:3]] == ["000_mask.png", "001.png", "002_mask.png"]


def test_a_defect_folder_without_masks_opens_without_masks(mvtec):
    for path in (mvtec / "ground_truth/broken").iterdir():
        path.unlink()
    assert open_category(mvtec).test[0].load_mask() is None


def test_a_plain_folder_keeps_every_fifth_good_picture_for_the_test(tmp_path):
    for i in range(10):
        picture(tmp_path / f"good/{i}.png")
    picture(tmp_path / "bent/0.png")
    category = open_category(tmp_path)
    assert [s.name for s in category.test] == ["good/4.png", "good/9.png", "bent/0.png"]
    assert len(category.train) == 8


def test_good_pictures_alone_are_all_for_training(tmp_path):
    for i in range(10):
        picture(tmp_path / f"{i}.png")
    category = open_category(tmp_path)
    assert len(category.train) == 10 and category.test == []


def test_held_out_samples_are_spread_and_never_fitted_on():
    kept, aside = hold_out(list(range(10)), 3)
    assert aside == [1, 5, 8] and kept == [0, 2, 3, 4, 6, 7, 9]
    with pytest.raises(ValueError, match="cannot hold 10 of 10 samples out"):
        hold_out(list(range(10)), 10)


def test_images_to_score_are_files_and_folders_of_unknown_kind(mvtec):
    empty = mvtec / "empty"
    empty.mkdir()
    picture(mvtec / "test/.thumbs/0.png")
    assert len(open_images(mvtec / "test")) == 6
    samples = open_images([mvtec / "test", mvtec / "train/good/000.png"])
    assert len(samples) == 7 and all(s.label is None and s.load_mask() is None for s in samples)
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_images([mvtec / "absent.png"])
    with pytest.raises(ValueError, match="holds no pictures"):
        open_images([empty])


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent: no such folder"):
        open_category(tmp_path / "absent")
    with pytest.raises(ValueError, match="holds no pictures; put good ones there"):
        open_category(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="no good pictures to learn from"):
        open_category(tmp_path)


def test_a_folder_without_good_pictures_says_where_to_put_them(tmp_path):
    picture(tmp_path / "broken/0.png")
    with pytest.raises(ValueError, match="no good pictures in good/ or train/good/, where they belong beside broken"):
        open_category(tmp_path)


def test_a_mask_without_its_picture_is_refused(mvtec):
    picture(mvtec / "ground_truth/broken/007_mask.png")
    with pytest.raises(ValueError, match=r"no picture belongs to the mask 007_mask\.png"):
        open_category(mvtec)


def test_masks_of_a_defect_that_was_never_photographed_are_refused(mvtec):
    picture(mvtec / "ground_truth/bent/000_mask.png")
    with pytest.raises(ValueError, match="masks for bent, but there are no such pictures"):
        open_category(mvtec)


def test_masks_for_only_some_pictures_are_refused(mvtec):
    (mvtec / "ground_truth/broken/001_mask.png").unlink()
    with pytest.raises(ValueError, match=r"no mask for 001\.png"):
        open_category(mvtec)


def test_a_mask_of_another_size_is_refused_with_both_sizes(mvtec):
    picture(mvtec / "ground_truth/broken/001_mask.png", size=(40, 30), mode="1")
    with pytest.raises(ValueError, match="mask of 40 x 30 pixels for a picture of 80 x 60"):
        check_masks(open_category(mvtec).test)


def test_a_mask_that_is_not_binary_is_refused_with_its_levels(mvtec):
    picture(mvtec / "ground_truth/broken/001_mask.png", mode="L")
    with pytest.raises(ValueError, match="not binary, it has the grey levels 20, 200"):
        check_masks(open_category(mvtec).test)


def test_masks_that_are_damaged_or_hide_in_an_alpha_channel_are_refused_by_name(mvtec):
    path = mvtec / "ground_truth/broken/001_mask.png"
    path.write_bytes(path.read_bytes()[:45])
    with pytest.raises(ValueError, match=r"001_mask\.png: mask cannot be read"):
        check_masks(open_category(mvtec).test)
    picture(path, mode="RGBA")
    with pytest.raises(ValueError, match=r"001_mask\.png: mask has an alpha channel"):
        check_masks(open_category(mvtec).test)


def test_two_masks_for_one_picture_are_refused(mvtec):
    picture(mvtec / "ground_truth/broken/001.png", mode="1")
    with pytest.raises(ValueError, match="two masks, or two pictures, have the same name"):
        open_category(mvtec)


def test_embedded_categories_open_by_name_and_unknown_ones_are_refused():
    assert isinstance(open_category("toybox/washer"), Category)
    with pytest.raises(ValueError, match="no embedded category 'washr'; there is washer"):
        datasets.open_category("toybox/washr")
