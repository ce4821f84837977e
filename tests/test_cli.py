from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys

import pytest
from PIL import Image

from pclib import _torchvision, cli, profile
from pclib.backbones import find_weights
from pclib.toybox import Toybox

QUICK = ["--resize", "128", "--crop", "112"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A category in MVTec AD layout on disk, drawn by the toybox."""
    root = tmp_path_factory.mktemp("data") / "washer"
    category = Toybox("washer", train=25, good=3, defective=4, size=128)
    for sample in [*category.train, *category.test]:
        path = root / sample.name
        path.parent.mkdir(parents=True, exist_ok=True)
        sample.load().save(path)
        if sample.label:
            mask = root / "ground_truth" / sample.defect / f"{path.stem}_mask.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sample.load_mask()).save(mask)
    return root


@pytest.fixture(scope="module")
def bank(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("banks") / "bank.safetensors"
    assert cli.main(["fit", str(folder), "-o", str(path), "--hold-out", "9", "--false-alarms", "0.1", *QUICK]) == 0
    return path


def test_fit_holds_pictures_out_and_sets_a_threshold(folder, tmp_path, capsys):
    out = tmp_path / "bank.safetensors"
    assert cli.main(["fit", str(folder), "-o", str(out), "--false-alarms", "0.2", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "from 5 good pictures held out, for at most 20 % false alarms" in said
    assert "from 20 images) written to" in said and out.is_file()


def test_fit_says_when_there_are_too_few_for_a_threshold(folder, tmp_path, capsys):
    assert cli.main(["fit", str(folder), "-o", str(tmp_path / "bank.safetensors"), *QUICK]) == 0
    assert "no threshold: a fifth of 25 pictures is fewer than 19" in capsys.readouterr().out


def test_score_prints_writes_a_table_and_maps(folder, bank, tmp_path, capsys):
    table, maps = tmp_path / "scores.csv", tmp_path / "maps"
    pictures = [str(folder / "test" / "good"), str(folder / "test" / "stain")]
    assert cli.main(["score", str(bank), *pictures, "--csv", str(table), "--maps", str(maps)]) == 0
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and set(rows[0]) >= {"image", "score", "threshold", "verdict", "worst_row", "worst_column"}
    for row in rows:
        assert row["verdict"] == ("anomalous" if float(row["score"]) > float(row["threshold"]) else "good")
        assert 0 <= int(row["worst_row"]) < 128 and 0 <= int(row["worst_column"]) < 128
    assert len(list(maps.glob("*.png"))) == 4
    assert capsys.readouterr().out.count("stain") == 1


def test_evaluate_prints_the_three_metrics_with_counts(folder, capsys):
    assert cli.main(["evaluate", str(folder), *QUICK]) == 0
    said = capsys.readouterr().out
    assert "3 good and 4 anomalous images, 4 defect regions" in said
    for metric in ("image AUROC  0.", "pixel AUROC  0.", "PRO          0."):
        assert metric in said or metric.replace("0.", "1.") in said


@pytest.mark.slow
def test_demo_writes_a_page_with_every_defect_found(folder, tmp_path, capsys):
    out = tmp_path / "demo"
    assert cli.main(["demo", str(folder), "--out", str(out), *QUICK]) == 0
    page, said = (out / "index.html").read_text(), capsys.readouterr().out
    assert "at most 11.1 % false alarms" in said and str(out) in said  # 8 of 25 held out
    found = list(out.glob("found-*.png"))
    assert f"defects found: {len(found)} of 4" in said
    for picture in [*found, out / "scores.png", out / "good.png"]:
        assert picture.name in page or picture.name == "good.png"
    assert page.count("<img") == page.count(" alt=")


def test_demo_leaves_other_peoples_files_alone(tmp_path, capsys):
    (tmp_path / "found-treasure.png").write_text("mine")
    assert cli.main(["demo", "--out", str(tmp_path)]) == 1
    assert "holds files that are not an earlier report" in capsys.readouterr().err
    assert (tmp_path / "found-treasure.png").read_text() == "mine"


@pytest.mark.slow
def test_an_interrupted_demo_can_be_run_again(folder, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "demo"
    with monkeypatch.context() as patch:
        patch.setattr("pclib.plots.explanation", interrupted)
        patch.setattr("pclib.plots.gallery", interrupted)
        assert cli.main(["demo", str(folder), "--out", str(out), *QUICK]) == 130
    assert "not finished" in (out / "index.html").read_text()
    assert cli.main(["demo", str(folder), "--out", str(out), *QUICK]) == 0
    assert "Defects found" in (out / "index.html").read_text()


def test_maps_of_pictures_with_the_same_name_do_not_overwrite_each_other(folder, bank, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "$x_{.png").write_bytes((folder / "test/good/000.png").read_bytes())
    assert (
        cli.main(["score", str(bank), str(tmp_path / "a"), str(tmp_path / "b"), "--maps", str(tmp_path / "maps")]) == 0
    )
    assert len(list((tmp_path / "maps").iterdir())) == 2


def test_a_broken_test_picture_is_refused_before_the_fit_or_skipped(folder, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "washer"
    shutil.copytree(folder, copy)
    broken = copy / "test/stain/000.png"
    broken.write_bytes(broken.read_bytes()[:500])
    assert cli.main(["evaluate", str(copy), *QUICK, "--skip-bad"]) == 0
    assert "3 good and 3 anomalous images" in capsys.readouterr().out
    monkeypatch.setattr("pclib.patchcore.PatchCore.fit", None)
    for command in ("evaluate", "demo"):
        assert cli.main([command, str(copy), *QUICK]) == 1
        assert "test/stain/000.png" in capsys.readouterr().err


def test_doctor_says_what_is_there(capsys):
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "ok  embedded backbone    loaded" in said and "--  MVTec AD" in said
    assert "ready for the demo and the notebooks" in said


def test_skip_bad_goes_on_and_reports(folder, bank, tmp_path, capsys):
    (tmp_path / "bad.png").write_text("no picture")
    good = str(folder / "test/good/000.png")
    assert cli.main(["score", str(bank), good, str(tmp_path / "bad.png")]) == 1
    assert "bad.png" in capsys.readouterr().err
    assert cli.main(["score", str(bank), good, str(tmp_path / "bad.png"), "--skip-bad"]) == 0
    assert "skipped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "absent", "-o", "b.safetensors"], "absent: no such folder"),
        (["fit", "toybox/washer", "-o", "absent/b.safetensors"], "absent: no such folder to write to"),
        (["fit", "toybox/washer", "-o", "b.safetensors", "--coreset", "10"], "for 10 % write 0.1"),
        (["score", "absent.safetensors", "."], "holds no pictures"),
        (["evaluate", "toybox/washer", "--layers", "block.2"], "no layer block.2; it has blocks.2"),
        (["fit", "toybox/washer", "-o", "."], "not a file, so it cannot be replaced by one"),
        (["fit", "toybox/washer", "-o", "b.safetensors", "--hold-out", "2"], "--hold-out 2 is too few"),
        (["fit", "toybox/washer", "-o", "b.safetensors", "--false-alarms", "5"], "for 5 % write 0.05"),
        (["evaluate", "toybox/washer", "--device", "abacus"], "device 'abacus' cannot be used"),
        (["score", "b.safetensors", ""], "one of the paths is empty text"),
        (["demo", "toybox/washr"], "no embedded category 'washr'; there is washer"),
    ],
)
def test_refused_input_ends_with_one_clear_line_and_no_file(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not list(tmp_path.rglob("*.safetensors"))


def test_an_output_folder_that_cannot_be_written_to_is_refused_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["demo", "--out", str(tmp_path / "file" / "demo")]) == 1
    assert "a file, where a folder to write to is wanted" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_leaves_nothing(folder, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pclib.patchcore.greedy", interrupted)
    assert cli.main(["fit", str(folder), "-o", str(tmp_path / "bank.safetensors"), *QUICK]) == 130
    assert "interrupted" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["reading", "coreset"])
def test_a_real_ctrl_c_leaves_nothing(tmp_path, moment):
    command = [sys.executable, "-m", "pclib.cli", "fit", "toybox/washer", "-o", str(tmp_path / "bank.safetensors")]
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    said = b""
    while moment.encode() not in said and (byte := running.stderr.read(1)):
        said += byte
    running.send_signal(signal.SIGINT)
    said += running.communicate(timeout=60)[1]
    assert running.returncode == 130 and b"interrupted" in said and b"Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_importing_and_asking_for_help_load_nothing_heavy():
    code = (
        "import sys, pclib, pclib.cli\n"
        "try: pclib.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'timm', 'torchvision', 'faiss', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "examples:" in said and "pclib score bank.safetensors" in said


def test_the_profile_is_demo_unless_data_are_named(tmp_path, monkeypatch):
    assert profile().name == "demo" and profile().category("washer") == "toybox/washer"
    monkeypatch.setenv("PCLIB_DATA", str(tmp_path))
    assert profile().backbone == "wide_resnet50_2" and profile().category("bottle") == str(tmp_path / "bottle")
    monkeypatch.setenv("PCLIB_PROFILE", "demo")
    assert profile().data is None
    monkeypatch.setenv("PCLIB_PROFILE", "papr")
    with pytest.raises(ValueError, match="PCLIB_PROFILE must be one of 'demo', 'paper', got 'papr'"):
        profile()
    monkeypatch.setenv("PCLIB_PROFILE", "paper")
    monkeypatch.setenv("PCLIB_DATA", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="PCLIB_DATA names no folder"):
        profile()


def test_torchvision_imports_with_or_without_its_compiled_part():
    torchvision = _torchvision.import_torchvision()
    assert torchvision.models.resnet18 and find_weights("no-such-file.pth") is None
