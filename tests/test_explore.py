"""`pclib explore` before anything is served: which code the page runs, and what is refused. Pages: tests/browser."""

from __future__ import annotations

import ast

import pytest

from pclib import cli, explore, widgets
from pclib.toybox import Toybox
from pclib.widgets import ToyboxExplorer


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch):
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("something was started"))


@pytest.mark.parametrize("name", explore.EXPLORERS)
def test_every_explorer_has_a_page_whose_code_names_what_there_is(name):
    code = ast.parse(explore.source(name))
    called = {node.func.id for node in ast.walk(code) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert {word for word in called if word[0].isupper()} <= set(widgets.__all__)
    assert ("toybox/washer" in explore.source(name)) == (name not in ("table", "toybox"))


def test_the_code_runs_where_the_command_was_given_and_shows_the_category(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = ast.parse(explore.source("toybox", "toybox/gravel"))
    last = code.body.pop()
    names: dict = {}
    exec(compile(code, "cell", "exec"), names)
    shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    assert isinstance(shown, ToyboxExplorer) and shown.state.category == "gravel"
    assert repr(str(tmp_path)) in explore.source("coreset")


def test_eight_pictures_at_most_have_their_features_looked_at():
    assert "toybox/washer').test[::7]" in explore.source("features")  # 52 test pictures


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["best"], "explorer must be one of 'coreset', 'scores', 'features', 'metrics', 'table', 'toybox', got 'best'"),
        (["coreset", "toybox/wsher"], "no embedded category 'wsher'"),
        (["coreset", "nowhere"], "nowhere"),
        (["coreset", "folder"], "folder: has no test pictures to explore"),
        (["toybox", "folder"], "the toybox explorer shows toybox/<name>"),
        (["table", "toybox/washer"], "the table explorer takes no category"),
    ],
)
def test_what_cannot_be_shown_is_refused_at_once(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for i, sample in enumerate(Toybox("washer", train=6, good=0, defective=0, size=64).train):
        sample.load().save(tmp_path / "folder" / f"{i}.png")
    assert cli.main(["explore", *arguments]) == 1
    said = capsys.readouterr()
    assert says in said.err and said.out == ""


def test_voila_that_is_not_there_is_named(monkeypatch, capsys):
    monkeypatch.setattr(explore, "find_spec", lambda name: None if name == "voila" else name)
    assert cli.main(["explore", "coreset"]) == 1
    assert "needs voila: pip install voila" in capsys.readouterr().err
