"""Decimals in prose must be numbers that the notebook printed, or set itself, or cite where they are from."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Callable, Iterator, Sequence

from nbformat import NotebookNode

from suite.cells import code, marked, printed
from suite.numbers import NUMBER

DECIMAL = re.compile(r"(?<![\w.])\d[\d,]*\.\d+(?![\w.]*\d)(?P<percent>\s?%| points?\b)?")
NOT_PROSE = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|<[^>]+>", re.S)
OUTWARD = re.compile(r"\]\(https?://|\([^()]*\b(?:19|20)\d\d\b[^()]*\)")  # a link to the web, or "(Name 2005)"
ELSEWHERE = re.compile(r"\]\((\d\d_\w+)\.ipynb")
MEASURED = re.compile(r"^\*Measured .*\*$", re.M)  # a line that the build writes

Opener = Callable[[str], NotebookNode]


def unbound(notebook: NotebookNode, opener: Opener) -> list[str]:
    """Decimals of the prose that nothing vouches for. `opener` opens another notebook by its name, without suffix."""
    own, literals = ledger(notebook), _literals(notebook)
    return [
        text
        for paragraph in _paragraphs(notebook)
        for text, value, places, percent in _decimals(paragraph)
        if not OUTWARD.search(paragraph)
        and value not in literals
        and not _rounds_to(value, places, percent, own)
        and not any(_rounds_to(value, places, percent, ledger(opener(n))) for n in ELSEWHERE.findall(paragraph))
    ]


def ledger(notebook: NotebookNode) -> list[float]:
    """All numbers that the compared cells printed."""
    texts = (printed(cell.outputs).replace(",", "") for cell in marked(notebook))
    return [abs(float(number)) for text in texts for number in NUMBER.findall(text)]


def bound(notebook: NotebookNode) -> int:
    """How many decimals the prose has."""
    return sum(1 for paragraph in _paragraphs(notebook) for _ in _decimals(paragraph))


def _paragraphs(notebook: NotebookNode) -> Iterator[str]:
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = MEASURED.sub("", NOT_PROSE.sub(" ", cell.source))
            yield from re.split(r"\n\s*\n|\n(?=[-*\d]+\.? )", text)


def _decimals(paragraph: str) -> Iterator[tuple[str, float, int, bool]]:
    for found in DECIMAL.finditer(re.sub(r"\]\([^)]*\)", "]", paragraph)):
        number = found[0].removesuffix(found["percent"] or "").replace(",", "")
        yield found[0], float(number), len(number.partition(".")[2]), bool(found["percent"])


def _rounds_to(value: float, places: int, percent: bool, known: Sequence[float]) -> bool:
    half = 0.5 * 10**-places + 1e-9
    return any(abs(v * scale - value) <= half for v in known for scale in ((1, 100) if percent else (1,)))


def _literals(notebook: NotebookNode) -> set[float]:
    found = set()
    for cell in code(notebook):
        for token in tokenize.generate_tokens(io.StringIO(cell.source).readline):
            if token.type == tokenize.NUMBER and not token.string.lower().startswith(("0x", "0b")):
                found.add(abs(complex(token.string.replace("_", "")).real))
    return found
