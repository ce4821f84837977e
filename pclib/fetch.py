"""Download a known data set, check it and put it in its place; a download that was cut off goes on where it ended."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from pclib._checks import some
from pclib._files import make_folder
from pclib.inventory import Archive, DataSet, by_hand, folder, known, status
from pclib.profile import mirrors

UNPACKED = 1.1  # bytes on disk for each byte of an archive: its pictures are compressed already
BLOCK = 1 << 16  # bytes; a cut connection loses at most these
WAIT = 60  # seconds without an answer
UNPACKING = ".unpacking"


def fetch(name: str, *, accept_licence: bool, progress: Callable[..., Any] = tqdm) -> Path:
    """Download the data set `name` into its folder, which is returned; complete categories stay as they are.

    The archive is removed once everything is in its place. What was there of an incomplete category is set aside.

    Raises ValueError if the name is unknown or the licence not accepted, or if the archive cannot be unpacked; OSError
    if there is no room, or no address gave the archive: what came is then kept, and the next call goes on from there.
    """
    data, target = known(name), folder(name)
    if all(seen.state == "complete" for seen in status(name)):
        print(f"nothing to do: all {len(data.categories)} categories of {data.title} are complete in {target}")
        return target
    if not accept_licence:
        raise ValueError(
            f"{licence(data)}; it is downloaded only for those who accept that: --accept-licence, or in Python "
            "accept_licence=True"
        )
    if find_spec("pooch") is None:
        raise OSError("the package pooch is needed to download: pip install pooch")
    if not hasattr(tarfile, "data_filter"):
        raise OSError("this Python cannot unpack archives safely; use 3.11.4 or newer")
    make_folder(target)
    _check_room(data, target)
    archive = _download(data, target, progress)
    _unpack(archive, data, target, progress)
    archive.unlink()
    return target


def licence(data: DataSet) -> str:
    """Under which licence a data set comes, and what that asks of its user."""
    return f"{data.title} comes under {data.licence} ({data.terms}; {data.licence_url})"


def _check_room(data: DataSet, target: Path) -> None:
    here = [target / data.archive.file_name, _partial(data.archive, target)]
    already = max(path.stat().st_size if path.is_file() else 0 for path in here)
    needed = (1 + UNPACKED) * data.archive.bytes - already
    free = shutil.disk_usage(target).free
    if free < needed:
        raise OSError(
            f"{target}: {free / 1e9:.1f} GB are free, but {data.title} takes {needed / 1e9:.1f} GB until it is "
            f"unpacked; make room, or name a folder elsewhere in {data.folder_variable}"
        )


def _download(data: DataSet, target: Path, progress: Callable[..., Any]) -> Path:
    """The archive, from the first address that gives it whole and right."""
    addresses = [f"{prefix.rstrip('/')}/{data.archive.file_name}" for prefix in mirrors()] + [data.archive.url]
    failures = []
    for address in addresses:
        try:
            return _retrieve(address, data.archive, target, progress)
        except (OSError, ValueError) as error:
            failures.append(f"  {address}: {error}")
    begun = _partial(data.archive, target).exists()
    kept = "; what came is kept, and the same command goes on from there" if begun else ""
    lines = [f"{data.title} could not be downloaded{kept}", *failures, f"try again later: {by_hand(data)}"]
    raise OSError("\n".join(lines))


def _retrieve(address: str, archive: Archive, target: Path, progress: Callable[..., Any]) -> Path:
    """The archive from one address, its hash compared; continues what an earlier try left."""
    import pooch

    partial = _partial(archive, target)
    resumed, right = partial.exists(), f"sha256:{archive.sha256}"

    def download(url: str, output: str, _: object) -> None:
        _resume(url, partial, archive.file_name, progress)
        partial.replace(output)

    try:
        return Path(pooch.retrieve(address, right, archive.file_name, path=target, downloader=download))
    except ValueError as error:
        if isinstance(error, OSError) or partial.exists():  # an address that is none: nothing came
            raise
        if resumed:  # perhaps it was the earlier part that was wrong, and it is gone now
            return _retrieve(address, archive, target, progress)
        raise ValueError(f"what came has another SHA-256 than {archive.sha256[:12]}..., and was removed") from error


def _resume(address: str, partial: Path, title: str, progress: Callable[..., Any]) -> None:
    """Download to `partial`, from where it ends if the server can, else from the start."""
    import requests

    done = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(address, stream=True, timeout=WAIT, headers=headers) as answer:
        if done and answer.status_code == requests.codes.range_not_satisfiable:
            return  # it is all here; whether it is right, its hash will say
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            done = 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else None
        with (
            open(partial, "ab" if done else "wb") as file,
            progress(total=total, initial=done, unit="B", unit_scale=True, desc=title) as bar,
        ):
            for block in answer.iter_content(BLOCK):
                bar.update(file.write(block))
    if total and partial.stat().st_size < total:
        raise OSError(f"the connection ended after {partial.stat().st_size} of {total} bytes")


def _partial(archive: Archive, target: Path) -> Path:
    return target / f"{archive.file_name}.part"


def _unpack(archive: Path, data: DataSet, target: Path, progress: Callable[..., Any]) -> None:
    """Unpack into a folder beside the final places, then move what is not complete yet, one rename for each."""
    unpacked = target / UNPACKING
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            for member in progress(tar, desc="unpack", unit=" files"):
                tar.extract(member, unpacked, filter="data")
        _put_in_place(_inner(unpacked, data), data, target)
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{archive}: cannot be unpacked ({error}); nothing was put in place") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _inner(unpacked: Path, data: DataSet) -> Path:
    """Where the category folders are: at the top, or in the one folder that wraps everything."""
    inside = list(unpacked.glob("*"))
    for place in [unpacked, *(inside if len(inside) == 1 else [])]:
        if any((place / category).is_dir() for category in data.categories):
            return place
    names = some(sorted(path.name for path in inside)) or "nothing"
    raise tarfile.ReadError(f"it holds {names} instead of category folders")


def _put_in_place(source: Path, data: DataSet, target: Path) -> None:
    """Move files and folders, but for complete categories, the split file they rely on, and files that are there."""
    keep = {seen.category for seen in status(data.name) if seen.state == "complete"}
    if keep and data.split:
        keep.add(Path(data.split).parts[0])
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if place.exists():
            if entry.name in keep or entry.is_file():
                continue
            aside = Path(tempfile.mkdtemp(dir=target, prefix=f"{entry.name}.old-"))
            place.rename(aside)  # an empty folder may be replaced by a rename
            print(f"what was in {place} is now in {aside}")
        entry.rename(place)
