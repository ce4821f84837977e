"""Known data sets: what of them is here, getting them (from a local server, tiny archives), opening VisA."""

from __future__ import annotations

import hashlib
import io
import shutil
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

from pclib import cli, doctor
from pclib.datasets import SPLIT, check_masks, open_category
from pclib.fetch import UNPACKING, fetch
from pclib.inventory import DATA_SETS, Archive, Counts, DataSet, by_hand, find, folder, known, status
from pclib.profile import data_folder, mirrors, store_folder, user_folder

TINY = {"bottle": Counts(3, 2, {"broken": 2}), "cable": Counts(2, 1, {"cut": 1, "bent": 1})}
FILE = "mvtec_anomaly_detection.tar.xz"


def picture(path: Path, value: int = 200, mask: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((6, 8), value, np.uint8)
    pixels[:3] = 0
    Image.fromarray(pixels).convert("L" if mask else "RGB").save(path)


def write_mvtec(root: Path, categories: dict[str, Counts] = TINY) -> None:
    for category, counts in categories.items():
        kinds = {"train/good": counts.train, "test/good": counts.good}
        for kind, count in (kinds | {f"test/{defect}": n for defect, n in counts.defects.items()}).items():
            for i in range(count):
                picture(root / category / kind / f"{i:03d}.png", value=100 + i)
                if kind.startswith("test/") and kind != "test/good":
                    defect = kind.removeprefix("test/")
                    picture(root / category / "ground_truth" / defect / f"{i:03d}_mask.png", 255, mask=True)


def write_visa(root: Path, category: str = "candle") -> None:
    rows = ["object,split,label,image,mask"]
    for i, split in enumerate(("test", "train", "train")):
        name = f"{category}/Data/Images/Normal/{i:04d}.JPG"
        picture(root / name)
        rows.append(f"{category},{split},normal,{name},")
    for i in range(2):
        name, mask = f"{category}/Data/Images/Anomaly/{i:03d}.JPG", f"{category}/Data/Masks/Anomaly/{i:03d}.png"
        picture(root / name)
        numbers = np.zeros((6, 8), np.uint8)
        numbers[0, :3], numbers[5] = 1, 2 + i
        (root / mask).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers).save(root / mask)
        rows.append(f"{category},test,anomaly,{name},{mask}")
    (root / "split_csv").mkdir(exist_ok=True)
    (root / SPLIT).write_bytes("\r\n".join([*rows, ""]).encode())


def packed(root: Path, wrap: str = "") -> bytes:
    """The folder as an archive, perhaps in one more folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        tar.add(root, arcname=wrap or ".")
    return buffer.getvalue()


@dataclass
class Server:
    """What the local server has, how it behaves, and what it did."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut_after: int | None = None
    asked: list[str] = field(default_factory=list)
    sent: int = 0


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.asked.append(f"{self.path} {asked}".strip())
            content = state.files.get(self.path)
            if content is None:
                return self.send_error(404)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            if start and start >= len(content):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:][: state.cut_after]
            self.wfile.write(body)
            state.sent += len(body)
            return None

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        state.address = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield state
        running.shutdown()


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """The folder of a tiny MVTec AD, empty."""
    monkeypatch.setenv("PCLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setitem(DATA_SETS, "mvtec", replace(DATA_SETS["mvtec"], categories=TINY))
    return tmp_path / "data"


@pytest.fixture
def offered(root, server, tmp_path, monkeypatch) -> DataSet:
    """The tiny MVTec AD, to be had from the local server."""
    write_mvtec(tmp_path / "original")
    (tmp_path / "original/license.txt").write_text("a licence")
    return offer(server, packed(tmp_path / "original"), monkeypatch)


def offer(server: Server, content: bytes, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    server.files["/official/" + FILE] = content
    archive = Archive(
        f"{server.address}/official/{FILE}", hashlib.sha256(content).hexdigest(), len(content), file_name=FILE
    )
    monkeypatch.setitem(DATA_SETS, "mvtec", replace(DATA_SETS["mvtec"], archive=archive))
    return DATA_SETS["mvtec"]


def test_the_known_counts_add_up_to_the_published_totals():
    for name, totals in (("mvtec", (15, 3629, 467, 1258)), ("visa", (12, 8659, 962, 1200))):
        counts = known(name).categories.values()
        defective = sum(sum(c.defects.values()) for c in counts)
        assert (len(counts), sum(c.train for c in counts), sum(c.good for c in counts), defective) == totals
        assert len(known(name).archive.sha256) == 64 and known(name).archive.url.endswith(known(name).archive.file_name)


def test_folders_and_mirrors_come_from_the_environment(tmp_path, monkeypatch):
    assert data_folder() is None and data_folder("visa") is None and mirrors() == []
    assert folder("visa") == user_folder() / "visa" and store_folder() == user_folder() / "results"
    for variable, name in (("PCLIB_DATA", "a"), ("PCLIB_VISA", "b"), ("PCLIB_STORE", "c")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.setenv("PCLIB_MIRRORS", "http://one/x  http://two/")
    assert data_folder() == folder("mvtec") == tmp_path / "a"
    assert folder("visa") == tmp_path / "b" and store_folder() == tmp_path / "c"
    assert mirrors() == ["http://one/x", "http://two/"]
    with pytest.raises(ValueError, match="data set must be one of 'mvtec', 'visa', got 'mvtek'"):
        data_folder("mvtek")


def test_a_complete_category_is_found_and_opens(root):
    write_mvtec(root)
    assert find("mvtec", "cable") == root / "cable"
    assert open_category(find("mvtec", "cable")).contents() == "2 to train on; to test: 1 good, 1 bent, 1 cut"
    assert [(s.category, s.state, s.found, s.expected, s.lacking) for s in status("mvtec")] == [
        ("bottle", "complete", 9, 9, []),
        ("cable", "complete", 7, 7, []),
    ]


def test_pictures_of_other_formats_count_by_their_number(root):
    write_mvtec(root)
    (root / "bottle/train/good/001.png").rename(root / "bottle/train/good/001.JPG")
    (root / "bottle/train/good/002.png").rename(root / "bottle/train/good/002.txt")
    assert status("mvtec")[0].lacking == ["train/good/002"]


def test_missing_pictures_and_masks_are_named(root):
    write_mvtec(root)
    (root / "bottle/train/good/001.png").unlink()
    (root / "bottle/ground_truth/broken/001_mask.png").unlink()
    with pytest.raises(
        ValueError, match="2 of 9 files of MVTec AD's bottle are missing: train/good/001, ground_truth/broken/001_mask;"
    ):
        find("mvtec", "bottle")
    assert find("mvtec", "bottle", incomplete=True) == root / "bottle"
    assert [s.state for s in status("mvtec")] == ["incomplete", "complete"]


def test_what_is_not_there_says_how_to_get_it_and_where_to_put_it(root):
    with pytest.raises(FileNotFoundError) as refusal:
        find("mvtec", "bottle", incomplete=True)
    for told in (str(root), "pclib data fetch mvtec", FILE, "PCLIB_DATA", known("mvtec").home):
        assert told in str(refusal.value)
    (root / "bottle/train/good").mkdir(parents=True)
    assert [s.state for s in status("mvtec")] == ["missing", "missing"]


def test_unknown_names_are_refused_with_those_near(root):
    with pytest.raises(ValueError, match="no data set 'mvtek' is known; there is mvtec, visa"):
        status("mvtek")
    with pytest.raises(ValueError, match="MVTec AD has no category 'bottel'; it has bottle, cable"):
        find("mvtec", "bottel")


def test_checksums_tell_copies_apart(root):
    write_mvtec(root)
    first = [s.checksum for s in status("mvtec", checksums=True)]
    assert [s.checksum for s in status("mvtec")] == [None, None] and len(set(first)) == 2
    (root / "bottle/readme.txt").write_text("not a picture")
    assert [s.checksum for s in status("mvtec", checksums=True)] == first
    picture(root / "bottle/test/good/001.png", value=7)
    changed = [s.checksum for s in status("mvtec", checksums=True)]
    assert changed[0] != first[0] and changed[1] == first[1]


@pytest.fixture
def visa(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PCLIB_VISA", str(tmp_path / "visa"))
    data = replace(DATA_SETS["visa"], categories={"candle": Counts(2, 1, {"anomaly": 2})})
    monkeypatch.setitem(DATA_SETS, "visa", data)
    write_visa(tmp_path / "visa")
    return tmp_path / "visa"


def test_visa_opens_by_its_split_and_its_numbered_masks_are_binary(visa, monkeypatch):
    category = open_category(find("visa", "candle"))
    assert category.name == "candle" and category.contents() == "2 to train on; to test: 1 good, 2 anomaly"
    assert [s.name for s in category.train] == ["Data/Images/Normal/0001.JPG", "Data/Images/Normal/0002.JPG"]
    assert [s.name for s in category.test][:2] == ["Data/Images/Anomaly/000.JPG", "Data/Images/Anomaly/001.JPG"]
    check_masks(category.test)
    assert [s.load_mask().sum() for s in category.test] == [11, 11, 0]
    monkeypatch.chdir(visa / "candle")
    assert open_category(".").name == "candle"


def test_numbers_in_a_palette_are_defects_whatever_their_colours(visa):
    path = visa / "candle/Data/Masks/Anomaly/000.png"
    with Image.open(path) as image:
        numbers = Image.fromarray(np.asarray(image))
    numbers.putpalette([0, 0, 0] * 256)  # makes it one of mode P
    numbers.save(path)
    assert open_category(visa / "candle").test[0].load_mask().sum() == 11


def test_visa_without_its_split_or_without_files_says_so(visa):
    (visa / "candle/Data/Images/Normal/0002.JPG").unlink()
    (visa / "candle/Data/Masks/Anomaly/001.png").unlink()
    with pytest.raises(ValueError, match=r"1cls\.csv: names 2 files that are not there: .*001\.png.*0002\.JPG"):
        open_category(visa / "candle")
    with pytest.raises(
        ValueError, match=r"2 of 7 files of VisA's candle are missing: candle/Data/Masks/Anomaly/001\.png"
    ):
        find("visa", "candle")
    (visa / SPLIT).unlink()
    with pytest.raises(FileNotFoundError, match=r"1cls\.csv: no such file.*beside the category folders"):
        open_category(visa / "candle")
    seen = status("visa")[0]
    assert (seen.state, seen.lacking) == ("incomplete", [SPLIT])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("object,split,label,image\n", "has no column mask"),
        ("object,split,label,image,mask\npcb1,train,normal,a.JPG,\n", "names no pictures of candle"),
        ("object,split,label,image,mask\ncandle,train,anomaly,a.JPG,b.png\n", r"the row of a\.JPG \(train, anomaly"),
        ("object,split,label,image,mask\ncandle,test,anomaly,a.JPG,\n", r"a\.JPG \(test, anomaly, mask none\)"),
    ],
)
def test_a_split_that_is_none_is_refused(visa, content, message):
    (visa / SPLIT).write_text(content)
    with pytest.raises(ValueError, match=message):
        open_category(visa / "candle")


def test_a_split_that_names_too_little_is_not_complete(visa):
    lines = (visa / SPLIT).read_text().splitlines()
    (visa / SPLIT).write_text("\n".join(lines[:-1]))
    assert status("visa")[0].lacking == [f"{SPLIT} (it names 5 of 7 files)"]


def test_fetch_downloads_unpacks_and_removes_the_archive(offered, root, server):
    assert fetch("mvtec", accept_licence=True) == root
    assert [s.state for s in status("mvtec")] == ["complete", "complete"]
    assert sorted(p.name for p in root.iterdir()) == ["bottle", "cable", "license.txt"]
    assert server.sent == offered.archive.bytes


def test_an_archive_in_one_wrapping_folder_is_unwrapped(offered, root, server, tmp_path, monkeypatch):
    offer(server, packed(tmp_path / "original", wrap="mvtec_anomaly_detection"), monkeypatch)
    fetch("mvtec", accept_licence=True)
    assert find("mvtec", "bottle") == root / "bottle"


def test_visa_comes_with_its_split(visa, server, tmp_path, monkeypatch):
    content = packed(visa, wrap="VisA")
    shutil.rmtree(visa)
    server.files["/visa.tar"] = content
    archive = Archive(server.address + "/visa.tar", hashlib.sha256(content).hexdigest(), len(content), "visa.tar")
    monkeypatch.setitem(DATA_SETS, "visa", replace(DATA_SETS["visa"], archive=archive))
    assert open_category(fetch("visa", accept_licence=True) / "candle").defects == ["anomaly"]


def test_a_download_that_was_cut_off_goes_on_where_it_ended(offered, root, server, monkeypatch):
    monkeypatch.setattr("pclib.fetch.BLOCK", 100)
    server.cut_after = 300
    with pytest.raises(OSError, match="what came is kept, and the same command goes on from there") as refusal:
        fetch("mvtec", accept_licence=True)
    assert by_hand(offered) in str(refusal.value)
    assert (root / f"{FILE}.part").stat().st_size == 300
    server.cut_after = None
    fetch("mvtec", accept_licence=True)
    assert server.sent == offered.archive.bytes and server.asked[-1].endswith("bytes=300-")
    assert find("mvtec", "bottle") and not list(root.glob("*.part"))


def test_a_server_that_cannot_resume_sends_everything_again(offered, root, server):
    server.ranges = False
    root.mkdir()
    (root / f"{FILE}.part").write_bytes(b"x" * 200)
    fetch("mvtec", accept_licence=True)
    assert server.sent == offered.archive.bytes and find("mvtec", "bottle")


@pytest.mark.parametrize("length", [200, 100_000])
def test_an_earlier_part_that_was_wrong_is_fetched_again(offered, root, server, length):
    root.mkdir()
    (root / f"{FILE}.part").write_bytes(b"x" * length)
    fetch("mvtec", accept_licence=True)
    assert find("mvtec", "bottle") and len(server.asked) == 2


def test_a_part_that_was_whole_is_taken_as_it_is(offered, root, server):
    root.mkdir()
    (root / f"{FILE}.part").write_bytes(server.files["/official/" + FILE])
    fetch("mvtec", accept_licence=True)
    assert server.sent == 0 and find("mvtec", "bottle")


def test_an_archive_put_there_by_hand_is_not_downloaded(offered, root, server):
    root.mkdir()
    (root / FILE).write_bytes(server.files["/official/" + FILE])
    fetch("mvtec", accept_licence=True)
    assert server.asked == [] and find("mvtec", "bottle")


def test_a_wrong_hash_is_refused_and_nothing_of_it_kept(offered, root, server):
    server.files["/official/" + FILE] = b"a page that says: not today"
    with pytest.raises(OSError, match=r"what came has another SHA-256 than .*, and was removed") as refusal:
        fetch("mvtec", accept_licence=True)
    assert "what came is kept" not in str(refusal.value) and list(root.iterdir()) == []


def test_mirrors_come_first_and_a_bad_one_is_passed_over(offered, root, server, monkeypatch):
    server.files["/good/" + FILE] = server.files.pop("/official/" + FILE)
    monkeypatch.setenv("PCLIB_MIRRORS", f"{server.address}/bad {server.address}/good/")
    fetch("mvtec", accept_licence=True)
    assert server.asked == [f"/bad/{FILE}", f"/good/{FILE}"] and find("mvtec", "bottle")


def test_every_address_that_failed_is_named_with_its_reason(offered, root, server, monkeypatch):
    server.files.clear()
    monkeypatch.setenv("PCLIB_MIRRORS", f"{server.address}/bad nonsense")
    with pytest.raises(OSError, match="MVTec AD could not be downloaded") as refusal:
        fetch("mvtec", accept_licence=True)
    said = str(refusal.value)
    assert f"{server.address}/bad/{FILE}: 404" in said and f"nonsense/{FILE}: Invalid URL" in said
    assert f"{offered.archive.url}: 404" in said and by_hand(offered) in said


def test_without_the_licence_nothing_is_asked_of_any_server(offered, root, server):
    with pytest.raises(ValueError, match=r"CC BY-NC-SA 4\.0 \(no commercial use.*licenses/by-nc-sa/4\.0/\)"):
        fetch("mvtec", accept_licence=False)
    assert server.asked == [] and not root.exists()


def test_a_full_disk_is_noticed_before_the_download(offered, root, server, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 10))
    with pytest.raises(OSError, match="make room, or name a folder elsewhere in PCLIB_DATA"):
        fetch("mvtec", accept_licence=True)
    assert server.asked == []


def test_without_pooch_the_command_that_installs_it_is_named(offered, root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(OSError, match="pip install pooch"):
        fetch("mvtec", accept_licence=True)


@pytest.mark.parametrize(
    ("name", "kind"), [("../outside.txt", tarfile.REGTYPE), ("bottle/link", tarfile.SYMTYPE), ("dev", tarfile.CHRTYPE)]
)
def test_an_archive_that_reaches_outside_is_refused(root, server, tmp_path, monkeypatch, name, kind):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "../../../outside.txt" if kind == tarfile.SYMTYPE else ""
        tar.addfile(member)
    offer(server, buffer.getvalue(), monkeypatch)
    with pytest.raises(ValueError, match=r"cannot be unpacked .* nothing was put in place"):
        fetch("mvtec", accept_licence=True)
    assert [p.name for p in root.iterdir()] == [FILE] and not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize("content", ["no archive", "another folder"])
def test_an_archive_of_something_else_is_refused(root, server, tmp_path, monkeypatch, content):
    picture(tmp_path / "else/pictures/a.png")
    offer(server, packed(tmp_path / "else") if content == "another folder" else b"no archive" * 99, monkeypatch)
    with pytest.raises(ValueError, match="cannot be unpacked"):
        fetch("mvtec", accept_licence=True)
    assert [p.name for p in root.iterdir()] == [FILE]


def test_an_interrupted_unpacking_leaves_no_category_half_written(offered, root, server):
    def interrupting(items=None, **options):
        return tqdm(**options) if items is None else cut(items)

    def cut(items):
        for i, item in enumerate(items):
            if i == 5:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        fetch("mvtec", accept_licence=True, progress=interrupting)
    assert [p.name for p in root.iterdir()] == [FILE]
    (root / UNPACKING / "bottle").mkdir(parents=True)  # what a killed process leaves
    fetch("mvtec", accept_licence=True)
    assert len(server.asked) == 1 and find("mvtec", "cable") and not (root / UNPACKING).exists()


def test_complete_categories_stay_and_incomplete_ones_are_set_aside(offered, root, capsys):
    write_mvtec(root)
    picture(root / "bottle/train/good/000.png", value=7)
    mine = (root / "bottle/train/good/000.png").read_bytes()
    (root / "cable/train/good/000.png").unlink()
    (root / "cable/notes.txt").write_text("mine")
    (root / "license.txt").write_text("mine too")
    fetch("mvtec", accept_licence=True)
    assert [s.state for s in status("mvtec")] == ["complete", "complete"]
    assert (root / "bottle/train/good/000.png").read_bytes() == mine
    aside = next(root.glob("cable.old-*"))
    assert (aside / "notes.txt").read_text() == "mine" and str(aside) in capsys.readouterr().out
    assert (root / "license.txt").read_text() == "mine too"


def test_with_everything_there_nothing_is_done(offered, root, server, capsys):
    write_mvtec(root)
    assert fetch("mvtec", accept_licence=False) == root
    assert "nothing to do: all 2 categories of MVTec AD are complete" in capsys.readouterr().out
    assert cli.main(["data", "fetch", "mvtec"]) == 0 and server.asked == []


def test_the_status_command_says_where_it_looks_what_lacks_and_what_to_do(root, visa, capsys):
    write_mvtec(root)
    (root / "cable/test/cut/000.png").unlink()
    shutil.rmtree(visa)
    assert cli.main(["data", "status"]) == 0
    said = capsys.readouterr().out
    assert f"MVTec AD: 1 of 2 categories complete in {root}" in said
    assert f"VisA: 0 of 1 categories complete in {visa}" in said
    assert "bottle      complete    9 of 9 files\n" in said
    assert "cable       incomplete  6 of 7 files; missing test/cut/000\n" in said
    assert "candle      missing     0 of 7 files\n" in said
    assert "pclib data fetch mvtec" in said and "pclib data fetch visa" in said
    assert cli.main(["data", "status", "mvtec", "--checksums"]) == 0
    said = capsys.readouterr().out
    assert status("mvtec", checksums=True)[0].checksum in said and "VisA" not in said
    assert cli.main(["data", "status", "mvtek"]) == 1
    assert "no data set 'mvtek' is known; there is mvtec, visa" in capsys.readouterr().err


def test_the_fetch_command_wants_the_licence_accepted(offered, root, server, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # not a terminal
    assert cli.main(["data", "fetch", "mvtec"]) == 1
    said = capsys.readouterr().err
    assert "CC BY-NC-SA 4.0" in said and "--accept-licence" in said
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "")
    assert cli.main(["data", "fetch", "mvtec"]) == 1 and server.asked == []
    assert "CC BY-NC-SA 4.0" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert cli.main(["data", "fetch", "mvtec"]) == 0
    assert f"MVTec AD is in {root}" in capsys.readouterr().out
    shutil.rmtree(root)
    assert cli.main(["data", "fetch", "mvtec", "--accept-licence"]) == 0 and find("mvtec", "bottle")


def test_an_interrupted_fetch_says_that_it_can_go_on(offered, root, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pclib.fetch._download", interrupted)
    assert cli.main(["data", "fetch", "mvtec", "--accept-licence"]) == 130
    assert "the same command goes on from where the download ended" in capsys.readouterr().err


def test_the_doctor_counts_complete_categories(root):
    assert not doctor._data().ok and "pclib data fetch mvtec" in doctor._data().detail
    write_mvtec(root)
    assert doctor._data() == ("MVTec AD", True, f"2 of 2 categories complete in {root}", False)
    (root / "cable/test/cut/000.png").unlink()
    assert doctor._data().ok and "1 of 2 categories complete" in doctor._data().detail
