"""What the documents promise of the project as a whole."""

from __future__ import annotations

import ast
import re

import pytest

from .conftest import ROOT


def modules_in_order() -> list[str]:
    """Module names in the order of docs/architecture.md's table."""
    rows = re.findall(r"^\| (`.+?`) \|", (ROOT / "docs/architecture.md").read_text(), re.M)
    return [name.rstrip("/") for row in rows for name in re.findall(r"`([\w/]+)`", row)]


def imported(path) -> set[str]:
    """The pclib modules that a file imports, anywhere in it, for more than type checking."""
    tree = ast.parse(path.read_text())
    for node in [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]:
        node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "pclib":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pclib."):
            found.add(node.module.split(".")[1])
    return found - {"__version__"}


def test_modules_import_only_from_those_above_them_in_the_architecture():
    order = modules_in_order()
    files = {path.stem: [path] for path in (ROOT / "pclib").glob("*.py") if path.stem != "__init__"}
    for package in ("toybox", "metrics", "widgets", "methods"):
        files[package] = list((ROOT / "pclib" / package).rglob("*.py"))
    assert sorted(files) == sorted(order), "docs/architecture.md lists other modules than there are"
    for name, paths in files.items():
        for path in paths:
            upwards = {m for m in imported(path) if m != name and order.index(m) > order.index(name)}
            assert not upwards, f"{path.name} imports {upwards}, which stand below it"


@pytest.mark.slow
def test_the_readmes_first_example_runs_as_written(tmp_path, monkeypatch, capsys):
    (first, *_) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    exec(compile(first, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "image AUROC" in said and "test/scratch/000.png" in said and (tmp_path / "washer.safetensors").is_file()


@pytest.mark.parametrize("command", ["demo", "test", "setup", "lint", "notebooks", "lab", "site", "mutations"])
def test_make_has_the_commands_that_are_promised(command):
    assert re.search(rf"^{command}:.*## \w", (ROOT / "Makefile").read_text(), re.M)
