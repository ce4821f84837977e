"""The checks of the notebooks are themselves checked: each of them notices what it is there to notice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from suite import numbers, prose
from suite.cells import exercises
from suite.structure import KERNEL, complaints

from pclib.exercises import check

from .conftest import ROOT

OPENING = """# 42 · Why?

**What you will do.** Read. **What you will learn.** Nothing. **What you need.** Time.

*Measured with two threads: 10 seconds, 0.1 GB of memory.*"""
END = """**1. Count (2 minutes).** How many?"""
AFTER = """<details><summary>Solution</summary>

```python
answer = 3
```

</details>

## Summary

Predict.

## Quiz

<details>a</details><details>b</details><details>c</details>

## References

None."""


def printing(text: str, source: str = "print(1)") -> nbformat.NotebookNode:
    return new_code_cell(f"# NBVAL_CHECK_OUTPUT\n\n{source}", outputs=[new_output("stream", text=text)])


def small_notebook(
    text: str = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 0.977\n", said: str = "It is 0.98."
) -> nbformat.NotebookNode:
    exercise = new_code_cell(
        "answer = None\n# check\nfrom pclib.exercises import check\n\ncheck(answer, lambda a: a == 3, '')"
    )
    cells = [
        new_markdown_cell(OPENING),
        printing(text),
        new_markdown_cell(f"{said}\n\n## Exercises\n\n{END}"),
        exercise,
        new_markdown_cell(AFTER),
    ]
    for number, cell in enumerate([cells[1], cells[3]], 1):
        cell.execution_count = number
    for i, cell in enumerate(cells):
        cell.id = f"cell-{i:02d}"
    return new_notebook(cells=cells, metadata=KERNEL)


def found(folder: Path, notebook: nbformat.NotebookNode) -> str:
    path = folder / "42_why.ipynb"
    nbformat.write(notebook, path)
    return "\n".join(complaints(path))


# --- numbers ---


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_every_altered_number_is_noticed_and_none_that_was_not(value, places):
    text = f"AUROC {value:.{places}f}, {abs(int(value))} pictures"
    assert numbers.same(text, text)
    changed = list(numbers.alterations(text))
    assert len(changed) == numbers.count(text) == 2
    if places <= 3 or abs(value) > 0.05:  # a last digit below the tolerance cannot be guarded; see the next test
        assert not any(numbers.same(text, other) for other in changed)


def test_a_number_too_small_for_the_tolerance_is_not_guarded_and_so_fails_the_bite_test():
    (altered,) = numbers.alterations("difference 3e-07")
    assert numbers.same("difference 3e-07", altered)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("0.98450", "0.98451", True),
        ("0.9845", "0.9855", False),
        ("13 of 16", "14 of 16", False),
        ("13 of 16", "13 out of 16", False),
        ("1.0", "1", False),
        ("", "0.5", False),
    ],
)
def test_words_and_integers_count_exactly_and_decimals_nearly(one, other, equal):
    assert numbers.same(one, other) is equal
    assert (numbers.Near(one) == other) is equal and (numbers.Near(one) != other) is not equal


# --- prose ---


@pytest.mark.parametrize(
    ("said", "loose"),
    [
        ("It is 0.98.", []),  # printed as 0.977
        ("It is 97.7 %.", []),
        ("It is 0.97.", ["0.97"]),
        ("It is 0.97, say [others](https://example.org).", []),
        ("It is 0.97 (Hanley and McNeil 1982).", []),
        ("It is `0.97`, or $0.97$.", []),
        ("It is 0.97 in [42](42_why.ipynb), where nobody printed it.", ["0.97"]),
    ],
)
def test_a_decimal_in_prose_is_printed_by_a_cell_or_cited(said, loose):
    notebook = small_notebook(said=said)
    assert prose.unbound(notebook, lambda name: notebook) == loose


def test_a_number_that_a_cell_sets_may_be_spoken_of():
    notebook = small_notebook(said="A sigma of 4.5 pixels.")
    assert prose.unbound(notebook, lambda name: notebook) == ["4.5"]
    notebook.cells[1].source += "\nsigma = 4.5"
    assert prose.unbound(notebook, lambda name: notebook) == []


# --- structure ---


def test_a_notebook_in_order_has_no_complaints(tmp_path):
    assert found(tmp_path, small_notebook()) == ""


def _stripped(n):
    n.cells[1].outputs = []


def _gap(n):
    n.cells[3].execution_count = 7


def _error(n):
    n.cells[3].outputs = [new_output("error", ename="E", evalue="", traceback=[])]


def _no_question(n):
    n.cells[0].source = n.cells[0].source.replace("?", ".")


def _slow(n):
    n.cells[0].source = n.cells[0].source.replace("10 seconds", "2.5 minutes")


def _unmeasured(n):
    n.cells[0].source = n.cells[0].source.replace("*Measured", "*Guessed")


def _skips(n):
    n.cells[2].source = n.cells[2].source.replace("## Exercises", "#### Deep\n\n## Exercises")


def _long(n):
    n.cells[3].source += "\nx = 1" * 25


def _no_solution(n):
    n.cells[4].source = n.cells[4].source.replace("```python", "```text")


def _no_minutes(n):
    n.cells[2].source = n.cells[2].source.replace("(2 minutes)", "")


def _few_questions(n):
    n.cells[4].source = n.cells[4].source.replace("<details>c</details>", "")


def _altless(n):
    n.cells[3].outputs = [new_output("display_data", data={"text/html": '<img src="data:">', "text/plain": "x"})]


def _path(n):
    n.cells[3].source += "\n# /home/somebody/data"


def _kernel(n):
    n.metadata = {"kernelspec": {"name": "mine", "display_name": "Mine", "language": "python"}}


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_stripped, "prints no number"),
        (_gap, "not one clean run"),
        (_error, "a stored error"),
        (_no_question, "the title must be"),
        (_slow, "took 2.5 minutes"),
        (_unmeasured, "lacks the measured line"),
        (_skips, "skips a level"),
        (_long, "at most 20 are wanted"),
        (_no_solution, "no solution"),
        (_no_minutes, "without minutes"),
        (_few_questions, "2 folded answers"),
        (_altless, "without alt text"),
        (_path, "a local path"),
        (_kernel, "metadata not normalised"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.strip("_"),
)
def test_what_is_out_of_order_is_complained_of(tmp_path, spoil, complaint):
    notebook = small_notebook()
    spoil(notebook)
    assert complaint in found(tmp_path, notebook)


def test_too_few_numbers_and_a_loose_decimal_are_complained_of(tmp_path):
    assert "3 numbers guarded, at least 15" in found(tmp_path, small_notebook("1 2 0.98"))
    assert "0.55 in prose" in found(tmp_path, small_notebook(said="It is 0.55."))


# --- exercises ---


def test_a_solution_takes_the_place_of_the_learners_part():
    (exercise,) = exercises(small_notebook())
    assert exercise.solved.startswith("answer = 3\n# check\n")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "Not answered yet"),
        ((1, None), "Not answered yet"),
        (..., "Not answered yet"),
        (3, "Right!"),
        (4, "Not yet. Count."),
        ("three", "raised ValueError"),
        ([3], "raised TypeError"),
    ],
)
def test_a_wrong_answer_gets_a_hint_and_never_a_traceback(capsys, answer, said):
    check(answer, lambda a: int(a) == 3, "Count.")
    printed = capsys.readouterr().out
    assert printed.startswith(said) or said in printed
    assert printed.count("\n") == 1


# --- the comparison in nbval, as it is run ---


def nbval(folder: Path, notebook: nbformat.NotebookNode) -> subprocess.CompletedProcess:
    nbformat.write(notebook, folder / "42_why.ipynb")
    (folder / "conftest.py").write_text((ROOT / "notebooks/conftest.py").read_text())
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT / 'notebooks'}\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--nbval-lax",
        "--nbval-current-env",
        "-p",
        "no:cacheprovider",
        ".",
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_nbval_passes_what_is_true_and_says_the_score(tmp_path):
    notebook = small_notebook()
    notebook.cells[1].source = notebook.cells[1].source.replace("1)", "*range(1, 15), 0.97701)")
    ran = nbval(tmp_path, notebook)
    assert ran.returncode == 0, ran.stdout
    assert "15 numbers guarded, 15 caught when altered; 1 solutions pass" in ran.stdout


def _another_number(n):
    n.cells[1].outputs[0].text = n.cells[1].outputs[0].text.replace("0.977", "0.976")


def _no_run(n):
    n.cells[1].outputs, n.cells[1].execution_count = [], None


def _tiny(n):
    n.cells[1].source += "\nprint(3e-07)"
    n.cells[1].outputs[0].text += "3e-07\n"


def _wrong_solution(n):
    n.cells[4].source = n.cells[4].source.replace("answer = 3", "answer = 4")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_another_number, "Cell outputs differ"),
        (_no_run, "no stored number to compare"),
        (_tiny, "went unnoticed"),
        (_wrong_solution, "the solution does not pass"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.strip("_"),
)
def test_nbval_bites(tmp_path, spoil, said):
    notebook = small_notebook()
    notebook.cells[1].source = notebook.cells[1].source.replace("1)", "*range(1, 15), 0.977)")
    spoil(notebook)
    ran = nbval(tmp_path, notebook)
    assert ran.returncode == 1 and said in ran.stdout
