"""Explorers where no kernel runs: figures with text alternatives and words, as the notebooks are stored."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from in_browser import KERNEL
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_notebook
from suite import numbers

from pclib.widgets.state import State

from .seen import EXPLORERS, MATERIAL, eventually, expect, state_of

pytestmark = pytest.mark.browser

RUN = """
import sys

import build
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=300).execute()
build.normalise(notebook)
nbformat.write(notebook, sys.argv[1])
"""


@pytest.fixture(scope="module")
def stored(lab) -> Path:
    """A notebook with every explorer, run and normalised by `build.py` in another process."""
    path = lab.folder / "stored.ipynb"
    cells = map(new_code_cell, [MATERIAL, "print('a number', 7)", *EXPLORERS.values()])
    nbformat.write(new_notebook(cells=list(cells), metadata=KERNEL), path)
    notebooks = Path(__file__).parents[2] / "notebooks"
    subprocess.run([sys.executable, "-c", RUN, path], cwd=notebooks, check=True)
    return path


def figures_are_there(page: Any, states: list[State]) -> None:
    """Fails unless each explorer is a figure with its pictures, their text alternatives, and its words."""
    expect(page.get_by_text("Run the notebook to move it.")).to_have_count(len(states))
    images, alts = page.get_by_role("img"), [panel.alt for state in states for panel in state.panels()]
    loaded = "images => images.filter(image => image.naturalWidth > 0).map(image => image.alt)"
    eventually(lambda: len(images.evaluate_all(loaded)) >= len(alts), lambda: images.evaluate_all(loaded))
    drawn = images.evaluate_all(loaded)
    assert [alt for alt in alts if not any(numbers.same(alt, other) for other in drawn)] == []
    words = page.locator("figcaption").all_inner_texts()
    for state in states:
        said = f"{state.words()}\nRun the notebook to move it."
        assert any(numbers.same(caption, said) for caption in words), (said, words)
    text = page.locator("body").inner_text()
    assert "Error displaying widget" not in text and "VBox(children" not in text


@pytest.fixture(scope="module")
def states(material, washers) -> list[State]:
    return [state_of(source, material, washers) for source in EXPLORERS.values()]


def test_stored_outputs_are_small_and_hold_no_views(stored):
    outputs = [output for cell in nbformat.read(stored, 4).cells for output in cell.outputs]
    assert len(outputs) == 1 + len(EXPLORERS)
    assert all(set(output.get("data", {})) <= {"text/html", "text/plain"} for output in outputs)
    assert all(len(output.data["text/html"]) < 300_000 for output in outputs[1:])


@pytest.mark.parametrize("trusted", [False, True])
def test_in_jupyterlab_with_nothing_run(lab, stored, states, trusted):
    path = stored.with_name(f"trusted-{trusted}.ipynb")
    path.write_bytes(stored.read_bytes())
    if trusted:
        NotebookNotary(data_dir=str(lab.data)).sign(nbformat.read(path, 4))
    notebook = lab.show(path.name)
    notebook.page.set_viewport_size({"width": 1400, "height": 12000})  # all cells are in the page only where it is seen
    what = "trusted" if trusted else "not trusted"
    expect(notebook.page.get_by_title(re.compile(f"Notebook {what}"))).to_be_attached()
    figures_are_there(notebook.page, states)
    notebook.close()


def test_as_a_page_of_nbconvert_without_a_network(context, stored, states):
    subprocess.run([sys.executable, "-m", "nbconvert", "--to", "html", stored], check=True, capture_output=True)
    page = context.new_page()
    page.goto(stored.with_suffix(".html").as_uri(), wait_until="domcontentloaded")
    figures_are_there(page, states)
    page.close()
