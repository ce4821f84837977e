"""Open a category, wherever it lives: embedded, in MVTec AD's layout, in VisA's, or in a plain folder.

MVTec AD layout                         plain folder
bottle/                                 screws/
  train/good/000.png                      good/a.jpg
  test/good/000.png                       bent/b.jpg
  test/broken/000.png                     ground_truth/bent/b.png   (optional)
  ground_truth/broken/000_mask.png      or simply good pictures, in one folder without subfolders

VisA layout
split_csv/1cls.csv                      which pictures to train on and which to test on
candle/
  Data/Images/Normal/0000.JPG
  Data/Images/Anomaly/000.JPG
  Data/Masks/Anomaly/000.png            kinds of defect as small numbers; all above 0 is defect
"""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from pclib._checks import some
from pclib.framing import UNREADABLE
from pclib.samples import GOOD, Category, Sample
from pclib.toybox import Toybox

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MASKS = "ground_truth"
SPLIT = "split_csv/1cls.csv"
SPLIT_KINDS = {("train", "normal"): GOOD, ("test", "normal"): GOOD, ("test", "anomaly"): "anomaly"}
TEST_EVERY = 5  # in a plain folder every fifth good picture is kept for the test


@dataclass(frozen=True)
class FileSample(Sample):
    """A picture in a file, with the file of its mask if there is one; `numbered` masks tell kinds of defect apart."""

    path: Path
    mask_path: Path | None = None
    numbered: bool = False

    @property
    def size(self) -> tuple[int, int]:
        with Image.open(self.path) as image:
            width, height = image.size  # PIL itself turns TIFF files, and only those
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5 and image.format != "TIFF"
        return (height, width) if turned else (width, height)

    def load(self) -> Image.Image:
        """The picture as an RGB image, upright as its EXIF orientation says; 16 bit grey is scaled to 8."""
        with Image.open(self.path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode[0] in "IF":  # PIL would clip these, not scale them
                return Image.fromarray(_eight_bit(np.asarray(upright), self.path)).convert("RGB")
            return upright.convert("RGB")

    def load_mask(self) -> np.ndarray | None:
        """(h, w) bool; raises ValueError if the file is not binary (nor numbered) or not of its picture's size."""
        if self.mask_path is None:
            return super().load_mask()
        try:
            with Image.open(self.mask_path) as image:
                mode = image.mode
                grey = np.asarray(image if self.numbered and mode == "P" else image.convert("L"))
        except UNREADABLE as error:
            raise ValueError(f"{self.mask_path}: mask cannot be read ({error}); save it again") from error
        if "A" in mode:
            raise ValueError(f"{self.mask_path}: mask has an alpha channel; save it as plain grey, 0 and 255")
        if grey.shape[::-1] != self.size:
            raise ValueError(
                f"{self.mask_path}: mask of {grey.shape[1]} x {grey.shape[0]} pixels for a picture of "
                f"{self.size[0]} x {self.size[1]}; a mask must have its picture's size"
            )
        levels = np.unique(grey)
        if not self.numbered and (levels > 0).sum() > 1:
            raise ValueError(
                f"{self.mask_path}: mask is not binary, it has the grey levels {some([str(v) for v in levels], 5)}; "
                "save it without lossy compression or antialiasing, as 0 and 255"
            )
        return grey > 0


def _eight_bit(grey: np.ndarray, path: Path) -> np.ndarray:
    """Deep grey values as 8 bit, if they use the range of 16: (h, w) uint8."""
    low, high = grey.min(), grey.max()
    if grey.dtype.kind == "f" or low < 0 or not 4096 <= high < 65536:
        raise ValueError(
            f"{path}: grey values from {low:g} to {high:g} do not fill 16 bits, so how they map to brightness is not "
            "known (12 bit, or floats?); save the picture as 8 bit, or scaled to 16"
        )
    return (grey >> 8).astype(np.uint8)


def open_category(where: str | os.PathLike[str]) -> Category:
    """Open "toybox/<name>" or a folder in one of the layouts above.

    In MVTec AD's layout the split is the folder's own, in VisA's it is that of split_csv/1cls.csv. In a plain folder
    with other folders beside good/, every fifth good picture is kept for the test, so that there is something to tell
    the defects from.

    Raises FileNotFoundError if there is no such folder, or no split file where there should be one; ValueError if the
    folder holds no good pictures, or not all that the split names, a mask has no picture, or only some of the pictures
    of a defect have masks.
    """
    if isinstance(where, str) and where.startswith("toybox/"):
        return Toybox(where.removeprefix("toybox/"))
    root = Path(where)
    if not os.fspath(where) or not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; give a category's folder, or an embedded one: toybox/washer")
    if (root / "train").is_dir():
        return _open_mvtec(root)
    return _open_visa(root) if (root / "Data" / "Images").is_dir() else _open_plain(root)


def open_images(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Sample]:
    """Pictures to be scored, of which nothing else is known: files, or folders of files.

    Folders are searched to any depth, but for hidden ones and ground_truth. Raises FileNotFoundError for a path that
    is not there, ValueError for a folder without pictures.
    """
    found: list[Sample] = []
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if "" in given:
        raise ValueError("one of the paths is empty text; name a file or a folder ('.' for this one)")
    for path in map(Path, given):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if _is_image(p) and not _set_apart(p.relative_to(path)))
            if not inside:
                raise ValueError(f"{path}: holds no pictures ({', '.join(SUFFIXES)})")
            found += [FileSample(str(p), None, p) for p in inside]
        elif path.is_file():
            found.append(FileSample(str(path), None, path))
        else:
            raise FileNotFoundError(f"{path}: no such file or folder")
    return found


def hold_out(samples: Sequence[Sample], count: int) -> tuple[list[Sample], list[Sample]]:
    """Set `count` samples aside, evenly spread: (those to fit on, those held out)."""
    if not 0 <= count < len(samples):
        raise ValueError(f"cannot hold {count} of {len(samples)} samples out; something must be left to fit on")
    aside = {int((i + 0.5) * len(samples) / count) for i in range(count)}
    kept = [sample for i, sample in enumerate(samples) if i not in aside]
    return kept, [samples[i] for i in sorted(aside)]


def check_masks(samples: Sequence[Sample]) -> None:
    """Load every mask once, so that a bad one is refused before the long work starts; warns of one without a defect."""
    for sample in samples:
        mask = None if sample.defect == GOOD else sample.load_mask()
        if mask is not None and not mask.any():
            warnings.warn(f"{sample.name}: its mask is all black: a defect without a region", stacklevel=2)


def _open_mvtec(root: Path) -> Category:
    train = _samples(root / "train" / GOOD, root, GOOD)
    if not train:
        raise ValueError(f"{root / 'train' / GOOD}: no good pictures to learn from ({', '.join(SUFFIXES)})")
    kinds = _folders(root / "test") if (root / "test").is_dir() else []
    _check_mask_folders(root, kinds)
    test = [s for folder in kinds for s in _samples(folder, root, folder.name)]
    return Category(root.resolve().name, train, test)


def split_rows(root: Path, category: str) -> list[dict[str, str]]:
    """What VisA's split says of one category: rows of split, label, image and mask, the files relative to `root`.

    Raises FileNotFoundError if there is no split file in `root`, ValueError if it cannot be used for the category.
    """
    path = root / SPLIT
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file, which says what to train on and what to test on; "
            f"put {SPLIT} of VisA's archive beside the category folders"
        )
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if lacking := sorted({"object", "split", "label", "image", "mask"} - set(reader.fieldnames or ())):
            raise ValueError(f"{path}: has no column {some(lacking)}; take the file from VisA's archive")
        rows = [row for row in reader if row["object"] == category]
    if not rows:
        raise ValueError(f"{path}: names no pictures of {category}; take the file from VisA's archive")
    for row in rows:
        if (row["split"], row["label"]) not in SPLIT_KINDS or bool(row["mask"]) != (row["label"] == "anomaly"):
            raise ValueError(
                f"{path}: the row of {row['image']} ({row['split']}, {row['label']}, mask {row['mask'] or 'none'}) is "
                "neither train and normal nor test and normal, nor test and anomaly with a mask; "
                "take the file from VisA's archive"
            )
    return sorted(rows, key=lambda row: row["image"])


def _open_visa(folder: Path) -> Category:
    folder = Path(os.path.abspath(folder))  # its name and its parent matter, wherever a link may lead
    root, name = folder.parent, folder.name
    parts: dict[str, list[Sample]] = {"train": [], "test": []}
    lacking = []
    for row in split_rows(root, name):
        defect = SPLIT_KINDS[row["split"], row["label"]]
        mask = None if defect == GOOD else root / row["mask"]
        lacking += [str(path) for path in (root / row["image"], mask) if path is not None and not path.is_file()]
        sample = FileSample(row["image"].removeprefix(f"{name}/"), defect, root / row["image"], mask, numbered=True)
        parts[row["split"]].append(sample)
    if lacking:
        raise ValueError(
            f"{root / SPLIT}: names {len(lacking)} files that are not there: {some(lacking)}; "
            "unpack VisA's archive again"
        )
    return Category(name, parts["train"], parts["test"])


def _open_plain(root: Path) -> Category:
    name, kinds = root.resolve().name, [folder for folder in _folders(root) if folder.name != MASKS]
    if not kinds:
        good = _samples(root, root, GOOD)
        if not good:
            raise ValueError(f"{root}: holds no pictures; put good ones there ({', '.join(SUFFIXES)})")
        return Category(name, good, [])
    good = _samples(root / GOOD, root, GOOD)
    if not good:
        names = some([folder.name for folder in kinds])
        raise ValueError(f"{root}: no good pictures in good/ or train/good/, where they belong beside {names}")
    _check_mask_folders(root, kinds)
    others = [s for folder in kinds if folder.name != GOOD for s in _samples(folder, root, folder.name)]
    if not others:
        return Category(name, good, [])
    held_out = good[TEST_EVERY - 1 :: TEST_EVERY]
    return Category(name, [s for s in good if s not in held_out], [*held_out, *others])


def _samples(folder: Path, root: Path, defect: str) -> list[Sample]:
    """The pictures of one folder, sorted by name, with their masks."""
    paths = sorted(p for p in folder.glob("*") if _is_image(p)) if folder.is_dir() else []
    masks = {} if defect == GOOD else _paired_masks(paths, root / MASKS / defect)
    return [FileSample(p.relative_to(root).as_posix(), defect, p, masks.get(p)) for p in paths]


def _paired_masks(paths: list[Path], folder: Path) -> dict[Path, Path]:
    """Each picture with its mask: the same stem, with or without `_mask`. No mask at all is fine; some is not."""
    if not folder.is_dir():
        return {}
    stems = {p.stem for p in paths}
    masks = sorted(p for p in folder.glob("*") if _is_image(p))
    by_stem = {p.stem if p.stem in stems else p.stem.removesuffix("_mask"): p for p in masks}
    if len(by_stem) < len(masks) or len(stems) < len(paths):
        raise ValueError(f"{folder}: two masks, or two pictures, have the same name but for their endings")
    if strays := sorted(p.name for stem, p in by_stem.items() if stem not in stems):
        raise ValueError(f"{folder}: no picture belongs to the mask {some(strays)}; masks are paired by name")
    if by_stem and (bare := sorted(p.name for p in paths if p.stem not in by_stem)):
        raise ValueError(f"{folder}: no mask for {some(bare)}; add the missing masks or remove this folder")
    return {p: by_stem[p.stem] for p in paths if p.stem in by_stem}


def _check_mask_folders(root: Path, kinds: list[Path]) -> None:
    masked = _folders(root / MASKS) if (root / MASKS).is_dir() else []
    if strays := sorted({folder.name for folder in masked} - {folder.name for folder in kinds} - {GOOD}):
        raise ValueError(f"{root / MASKS}: masks for {some(strays)}, but there are no such pictures")


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _set_apart(path: Path) -> bool:
    return any(part.startswith(".") or part == MASKS for part in path.parts[:-1])


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
