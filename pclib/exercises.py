"""Exercises that check themselves: a wrong answer gets a hint, not a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def check(answer: Any, right: Callable[[Any], Any], hint: str) -> None:
    """Print whether an exercise's answer is right.

    `right` takes the answer and says so. No answer yet is None or ..., alone or within a tuple or list. Whatever the
    answer makes `right` raise is told in one line, beside the hint.
    """
    if _missing(answer):
        print("Not answered yet: put your answer above and run the cell again.")
        return
    try:
        verdict = bool(right(answer))
    except Exception as error:
        print(f"Not yet: your answer raised {type(error).__name__}: {error}. {hint}")
        return
    print("Right!" if verdict else f"Not yet. {hint}")


def _missing(answer: Any) -> bool:
    if isinstance(answer, tuple | list):
        return any(map(_missing, answer))
    return answer is None or answer is ...
