"""What a notebook's file must look like, found out without a kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import nbformat
from nbformat import NotebookNode

from suite import prose
from suite.cells import code, exercises, marked, printed
from suite.cells import prose as markdown
from suite.numbers import count

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ALTLESS = re.compile(r"<img(?![^>]* alt=\"[^\"]{8,}\")")
LOCAL_PATH = re.compile(r"(?<![\w.:])/(?:home|root|Users|tmp|work|mnt)/\S+")
PROMISE = re.compile(r"^\*Measured with two threads: ([\d.]+) (seconds|minutes?), ([\d.]+) GB of memory\.\*$", re.M)
CONTRACT = ("**What you will do.**", "**What you will learn.**", "**What you need.**")
SECTIONS = ("Exercises", "Summary", "Quiz", "References")
MINUTES, GIGABYTES, MEGABYTES, OUTPUT_BYTES = 2, 2, 2, 300_000
MEDIAN_LINES, MOST_LINES, FEWEST_NUMBERS, FEWEST_QUESTIONS = 6, 20, 15, 3


def complaints(path: Path) -> list[str]:
    """What is wrong with a stored notebook, in words."""
    notebook = nbformat.read(path, as_version=4)
    found = [
        *_of_the_run(notebook),
        *_of_outputs(notebook),
        *_of_the_text(notebook),
        *_of_lengths(notebook),
        *_of_exercises(notebook),
    ]
    if path.stat().st_size > MEGABYTES * 1e6:
        found.append(f"{path.stat().st_size / 1e6:.1f} MB, at most {MEGABYTES} are wanted")
    if leaked := LOCAL_PATH.search(path.read_text(encoding="utf-8")):
        found.append(f"a local path: {leaked[0]}")
    loose = prose.unbound(notebook, lambda name: nbformat.read(path.with_name(f"{name}.ipynb"), as_version=4))
    return found + [f"{number} in prose is printed by no marked cell and cites no source" for number in loose]


def _of_the_run(notebook: NotebookNode) -> Iterator[str]:
    cells = code(notebook)
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield "stored outputs are not one clean run; make notebooks"
    if any(output.output_type == "error" for cell in cells for output in cell.outputs):
        yield "a stored error"
    if notebook.metadata != KERNEL:
        yield "metadata not normalised; make notebooks"


def _of_outputs(notebook: NotebookNode) -> Iterator[str]:
    texts = {cell.id: printed(cell.outputs) for cell in marked(notebook)}
    for cell in marked(notebook):
        if not count(texts[cell.id]):
            yield f"a marked cell prints no number: {cell.source[:60]!r}"
    if (numbers := sum(map(count, texts.values()))) < FEWEST_NUMBERS:
        yield f"{numbers} numbers guarded, at least {FEWEST_NUMBERS} are wanted: mark what the prose leans on"
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    shown = [output.data for output in outputs if "data" in output]
    if any("image/png" in data for data in shown) or any(ALTLESS.search(data.get("text/html", "")) for data in shown):
        yield "a figure without alt text; return plots.with_alt(figure, ...)"
    for data in shown:
        if len(data.get("text/html", "")) > OUTPUT_BYTES * 4 / 3:
            yield f"an output of more than {OUTPUT_BYTES // 1000} kB; a smaller figure, fewer pictures, or kind='jpeg'"


def _of_the_text(notebook: NotebookNode) -> Iterator[str]:
    first, text = notebook.cells[0].source, markdown(notebook)
    title = first.splitlines()[0]
    if not (re.match(r"# \d\d · ", title) and "?" in title):
        yield f"the title must be '# NN · A question?', got {title!r}"
    yield from (f"the first cell lacks {part}" for part in CONTRACT if part not in first)
    promise = PROMISE.search(first)
    if promise is None:
        yield "the first cell lacks the measured line; make notebooks"
    else:
        minutes = float(promise[1]) / (60 if promise[2] == "seconds" else 1)
        if minutes > MINUTES or float(promise[3]) > GIGABYTES:
            yield f"took {minutes:g} minutes and {promise[3]} GB, at most {MINUTES} and {GIGABYTES} are wanted"
    headings = re.findall(r"^(#+) (.*)$", text, re.M)
    levels = [len(marks) for marks, _ in headings]
    if levels.count(1) != 1 or levels[0] != 1:
        yield "one title, first of all headings, is wanted"
    yield from ("a heading skips a level" for above, below in pairwise(levels) if below > above + 1)
    names = [name for marks, name in headings if marks == "##"]
    if [name for name in names if name in SECTIONS] != list(SECTIONS):
        yield f"sections {', '.join(SECTIONS)} are wanted, once each and in this order"
    if "redict" not in text:
        yield "the reader is nowhere asked to predict"
    quiz = text.partition("\n## Quiz\n")[2].partition("\n## ")[0]
    if quiz.count("<details>") < FEWEST_QUESTIONS:
        yield f"the quiz has {quiz.count('<details>')} folded answers, at least {FEWEST_QUESTIONS} are wanted"


def _of_lengths(notebook: NotebookNode) -> Iterator[str]:
    lines = [sum(bool(re.match(r"\s*[^\s#]", line)) for line in cell.source.splitlines()) for cell in code(notebook)]
    if median(lines) > MEDIAN_LINES:
        yield f"the median code cell has {median(lines):g} lines, at most {MEDIAN_LINES} are wanted"
    for cell, length in zip(code(notebook), lines, strict=True):
        if length > MOST_LINES:
            yield f"a code cell of {length} lines, at most {MOST_LINES} are wanted: {cell.source[:50]!r}"


def _of_exercises(notebook: NotebookNode) -> Iterator[str]:
    section = markdown(notebook).partition("\n## Exercises\n")[2].partition("\n## Summary")[0]
    named = re.findall(r"^\*\*\d+\. .*\*\*", section, re.M)
    yield from (f"an exercise without minutes: {name}" for name in named if not re.search(r"\(\d+ minutes\)", name))
    checked = list(exercises(notebook))
    if not named or len(named) != len(checked):
        yield f"{len(named)} exercises have names, {len(checked)} have a line '# check'"
    yield from (f"no solution as a python block follows {e.cell.source[:40]!r}" for e in checked if e.solution is None)
