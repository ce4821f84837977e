"""Write categories as files in MVTec AD's layout, so that other code can run on the same pictures.

FOLDER/washer/train/good/000.png
FOLDER/washer/test/chip/000.png
FOLDER/washer/ground_truth/chip/000_mask.png     0 and 255
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from pclib._files import check_creatable, make_folder
from pclib.samples import GOOD, Category, Sample

NOTE = "readme.txt"
FIRST_LINE = "Exported by pclib, in MVTec AD's layout. These are not pictures of MVTec AD."


def export(categories: Sequence[Category], folder: str | Path, *, force: bool = False) -> Path | None:
    """Write each category into a folder of its own inside `folder`, whole or not at all.

    A folder that is there and not empty is refused; with `force` it is replaced once everything is written. An earlier
    export is then deleted; anything else is set aside, and its new path returned.

    Raises ValueError for no categories, two of one name, a picture not known to be good or bad, or a folder that cannot
    be written.
    """
    folder = Path(folder)
    names = Counter(_folder_name(category) for category in categories)
    if not names:
        raise ValueError("no categories to export; name at least one")
    if doubled := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"two categories are called {doubled[0]!r}; export them into different folders")
    _check_folder(folder, force)
    parent = make_folder(folder.absolute().parent)
    partial = Path(tempfile.mkdtemp(dir=parent, prefix=".pclib-export-"))
    try:
        for category in categories:
            _write(category, partial / _folder_name(category))
        lines = [FIRST_LINE, "", *(repr(category) for category in categories)]
        (partial / NOTE).write_text("\n".join(lines) + "\n", encoding="utf-8")
        partial.chmod(0o755)  # mkdtemp makes folders that only their owner can read
        return _swap(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_folder(folder: Path, force: bool) -> None:
    check_creatable(folder)
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise ValueError(f"{folder}: is not empty; give a new folder, or force=True (--force) to replace this one")
    if folder.is_symlink():
        raise ValueError(f"{folder}: is a link to a folder; give the folder itself, {folder.resolve()}")


def _write(category: Category, folder: Path) -> None:
    count: Counter[str] = Counter()
    for split, samples in (("train", category.train), ("test", category.test)):
        for sample in tqdm(samples, desc=f"{folder.name}/{split}"):
            kind = _kind(sample)
            number = f"{count[f'{split}/{kind}']:03d}"
            count[f"{split}/{kind}"] += 1
            picture = folder / split / kind / f"{number}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            sample.load().save(picture)
            mask = None if kind == GOOD else sample.load_mask()
            if mask is not None:
                path = folder / "ground_truth" / kind / f"{number}_mask.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def _kind(sample: Sample) -> str:
    if sample.defect is None:
        raise ValueError(f"{sample.name}: whether it is good is not known, so it has no place in this layout")
    return sample.defect


def _folder_name(category: Category) -> str:
    return category.name.rsplit("/", 1)[-1]


def _swap(partial: Path, folder: Path) -> Path | None:
    """Put the finished export in the folder's place; returns where an old folder went, if it was not an export."""
    if not folder.exists():
        partial.rename(folder)
        return None
    old = Path(tempfile.mkdtemp(dir=partial.parent, prefix=f"{folder.name}.old-"))
    try:
        folder.rename(old)  # an empty folder may be replaced by a rename
    except OSError as error:
        old.rmdir()
        raise ValueError(f"{folder}: cannot be moved away ({error.strerror}); give another folder") from error
    partial.rename(folder)
    note = old / NOTE
    if not any(old.iterdir()) or (
        note.is_file() and note.read_text(encoding="utf-8", errors="replace").startswith(FIRST_LINE)
    ):
        shutil.rmtree(old)
        return None
    return old
