from __future__ import annotations

import os
import stat

import numpy as np
import pytest

import pclib
from pclib.cli import main
from pclib.export import FIRST_LINE, export
from pclib.samples import Category, Sample
from pclib.toybox import NAMES, Toybox

SIZES = {"train": 2, "good": 1, "size": 64}


def small(name: str = "washer", **options) -> Toybox:
    return Toybox(name, **{**SIZES, "defective": 8, **options})


@pytest.mark.parametrize("name", NAMES)
def test_an_exported_category_opens_as_the_same_pictures_and_masks(tmp_path, name):
    category = small(name)
    assert export([category], tmp_path / "out") is None
    opened = pclib.open_category(tmp_path / "out" / name)
    assert (opened.name, opened.defects) == (name, category.defects)
    for drawn, read in ((category.train, opened.train), (category.test, opened.test)):
        by_name = {sample.name: sample for sample in read}
        assert len(by_name) == len(drawn)
        for sample in drawn:
            assert np.array_equal(sample.load(), by_name[sample.name].load())
            assert np.array_equal(sample.load_mask(), by_name[sample.name].load_mask())


def test_the_layout_is_that_of_mvtec(tmp_path):
    export([small(defective=4)], tmp_path / "out")
    files = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file())
    kinds = ("chip", "dent", "scratch", "stain")
    masks = [f"washer/ground_truth/{kind}/000_mask.png" for kind in kinds]
    tested = [f"washer/test/{kind}/000.png" for kind in sorted([*kinds, "good"])]
    assert files == ["readme.txt", *masks, *tested, "washer/train/good/000.png", "washer/train/good/001.png"]
    note = (tmp_path / "out/readme.txt").read_text()
    assert note.startswith(FIRST_LINE) and repr(small(defective=4)) in note


def test_others_can_read_what_was_exported(tmp_path):
    umask = os.umask(0o022)
    try:
        export([small(defective=0)], tmp_path / "out")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o755


def test_any_category_can_be_exported(tmp_path):
    export([small()], tmp_path / "first")
    opened = pclib.open_category(tmp_path / "first/washer")
    export([opened], tmp_path / "second")
    assert pclib.open_category(tmp_path / "second/washer").defects == opened.defects


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match=r"is not empty; give a new folder, or force=True \(--force\)"):
        export([small()], tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    assert export([small(defective=0)], tmp_path / "out") is None
    assert (tmp_path / "out/washer/train/good/000.png").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_force_replaces_an_earlier_export(tmp_path):
    export([small("washer")], tmp_path / "out")
    assert export([small("board")], tmp_path / "out", force=True) is None
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["board", "readme.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_force_sets_aside_what_is_not_an_export(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("precious")
    aside = export([small(defective=0)], tmp_path / "out", force=True)
    assert aside is not None and (aside / "mine.txt").read_text() == "precious"
    assert (tmp_path / "out/washer").is_dir() and not (tmp_path / "out/mine.txt").exists()


@pytest.mark.parametrize("force", [False, True])
def test_an_export_that_fails_leaves_everything_as_it_was(tmp_path, monkeypatch, force):
    if force:
        export([small("board", defective=0)], tmp_path / "out")
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))

    def interrupted(sample: Sample) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr("pclib.toybox.DrawnSample.load_mask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export([small()], tmp_path / "out", force=force)
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before


def test_bad_exports_are_refused_before_anything_is_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    unknown = Category("mystery", small().train, [Sample("a.png", None)])
    for categories, folder, said in (
        ([], "out", "no categories to export"),
        ([small(), small(seed=1)], "out", "two categories are called 'washer'"),
        ([small()], "file", "a file, where a folder to write to is wanted"),
        ([unknown], "out", "a.png: whether it is good is not known"),
    ):
        with pytest.raises(ValueError, match=said):
            export(categories, tmp_path / folder)
    with pytest.raises(ValueError, match="is a link to a folder; give the folder itself"):
        export([small()], tmp_path / "link", force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link"]


def test_the_command_exports_with_knobs(tmp_path, capsys):
    out = str(tmp_path / "out")
    options = ["--train", "2", "--good", "1", "--defective", "4", "--size", "64", "--seed", "3"]
    command = ["toybox", "export", out, "--category", "washer", *options, "--knobs", "contrast=0.5", "defect-size=2"]
    assert main(command) == 0
    expected = Toybox("washer", train=2, good=1, defective=4, size=64, seed=3, contrast=0.5, defect_size=2)
    opened = pclib.open_category(f"{out}/washer")
    bad = {sample.name: sample for sample in opened.test}
    assert all(np.array_equal(sample.load(), bad[sample.name].load()) for sample in expected.test)
    assert repr(expected) in capsys.readouterr().out
    assert main(command) == 1
    assert "is not empty" in capsys.readouterr().err
    (tmp_path / "out/readme.txt").unlink()
    assert main([*command, "--force"]) == 0
    assert f"what was in {out} is now in " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--knobs", "contras=0.5"], "no knob 'contras'; there is contrast, "),
        (["--knobs", "contrast"], "--knobs contrast: give NAME=VALUE, such as contrast=0.5"),
        (["--knobs", "contrast=much"], "--knobs contrast=much: give NAME=VALUE"),
        (["--knobs", "contrast=7"], "contrast must be a number from 0.05 to 1, got 7.0"),
        (["--category", "wahser"], "no embedded category 'wahser'; there is washer, "),
        (["--size", "10"], "size must be a whole number of at least 64, got 10"),
    ],
)
def test_the_command_refuses_bad_settings(tmp_path, capsys, options, said):
    assert main(["toybox", "export", str(tmp_path / "out"), *options]) == 1
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_command_lists_categories_and_knobs(capsys):
    assert main(["toybox", "list"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{said}" for name in (*NAMES, "contrast", "mislabelled"))


@pytest.mark.slow
def test_the_command_draws_a_catalogue(tmp_path, capsys):
    assert main(["toybox", "catalogue", str(tmp_path / "all.gif")]) == 1
    assert "ends in .png or .jpg" in capsys.readouterr().err
    assert main(["toybox", "catalogue", str(tmp_path / "all.jpg")]) == 0
    assert (tmp_path / "all.jpg").read_bytes()[:2] == b"\xff\xd8"
