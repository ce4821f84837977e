"""What the parts of a notebook are: cells that are compared, what they printed, exercises and their solutions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nbformat import NotebookNode

MARK = "NBVAL_CHECK_OUTPUT"
CHECK = "\n# check\n"
SOLUTION = re.compile(r"<details><summary>Solution.*?</summary>(.*?)</details>", re.S)
PYTHON = re.compile(r"```python\n(.*?)```", re.S)


@dataclass(frozen=True)
class Exercise:
    """A code cell with the learner's part, and what the solution puts in its place; None if there is no solution."""

    cell: NotebookNode
    solution: str | None

    @property
    def solved(self) -> str:
        """The cell's source with the solution instead of the learner's part."""
        assert self.solution is not None
        return self.solution.rstrip() + CHECK + self.cell.source.split(CHECK, 1)[1]


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def marked(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in code(notebook) if MARK in cell.source]


def printed(outputs: list[NotebookNode]) -> str:
    """The plain text of outputs: what the comparison looks at."""
    return "".join(o.get("text", "") + str(o.get("data", {}).get("text/plain", "")) for o in outputs)


def prose(notebook: NotebookNode) -> str:
    """All Markdown, without fenced blocks."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.sub(r"```.*?```", "", text, flags=re.S)


def exercises(notebook: NotebookNode) -> Iterator[Exercise]:
    for cell, after in zip(notebook.cells, [*notebook.cells[1:], None], strict=True):
        if cell.cell_type == "code" and CHECK in cell.source:
            folded = SOLUTION.search(after.source) if after is not None and after.cell_type == "markdown" else None
            block = PYTHON.search(folded[1]) if folded else None
            yield Exercise(cell, block[1] if block else None)
