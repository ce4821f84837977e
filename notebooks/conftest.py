"""Let nbval bite: decimals within a tolerance, every guarded number altered in memory, every solution tried."""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from nbval.plugin import IPyNbCell, coalesce_streams
from suite.cells import MARK, exercises, printed
from suite.environment import ENVIRONMENT
from suite.numbers import Near, alterations, count

os.environ.update(ENVIRONMENT)  # before the first kernel starts
os.environ.setdefault("TQDM_DISABLE", "1")
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and (store := os.environ.get("PCLIB_STORE")):
    os.environ["PCLIB_STORE"] = str(Path(store) / worker)  # one writer each
_exactly = IPyNbCell.sanitize
IPyNbCell.sanitize = lambda self, text: Near(_exactly(self, text)) if isinstance(text, str) else text

score = Counter(guarded=0, caught=0, solutions=0)


def pytest_collectstart(collector: Any) -> None:
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("text/html",)  # figures; their alt text is compared


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    result = yield
    if isinstance(item, IPyNbCell):
        if MARK in item.cell.source:
            bite(item)
        try_solution(item)
    return result


def bite(item: IPyNbCell) -> None:
    """After a compared cell has passed: alter each of its stored numbers, and demand that the comparison fails."""
    stored = coalesce_streams(copy.deepcopy(item.cell.outputs))
    if item.cell.execution_count is None or not count(printed(stored)):
        pytest.fail(f"marked {MARK}, but no stored number to compare", pytrace=False)
    unnoticed = []
    for output in stored:
        place, key = (output, "text") if "text" in output else (output.get("data", {}), "text/plain")
        right = place.get(key, "")
        for altered in alterations(right):
            place[key] = altered
            score["guarded"] += 1
            if item.compare_outputs(item.test_outputs, stored):
                unnoticed.append(altered)
            else:
                score["caught"] += 1
        if right:
            place[key] = right
    if unnoticed:
        pytest.fail(f"{len(unnoticed)} altered numbers went unnoticed, the first in: {unnoticed[0]}", pytrace=False)


def try_solution(item: IPyNbCell) -> None:
    """After an exercise's cell has run: its solution must pass its check; then the cell runs again, as it was."""
    for exercise in exercises(item.parent.nb):
        if exercise.cell is item.cell:
            said = execute(item, exercise.solved)
            if "Right!" not in said:
                pytest.fail(f"the solution does not pass the check; it says: {said}", pytrace=False)
            execute(item, item.cell.source)
            score["solutions"] += 1


def execute(item: IPyNbCell, source: str) -> str:
    """What a cell prints that is run in the notebook's kernel."""
    kernel, said = item.parent.kernel, ""
    asked = kernel.execute_cell_input(source, allow_stdin=False)
    kernel.await_reply(asked, timeout=item.config.option.nbval_cell_timeout)
    while True:
        try:
            message = kernel.get_message(stream="iopub", timeout=5)
        except Empty:
            return said + "\n(no more output)"
        if message["parent_header"].get("msg_id") != asked:
            continue
        content = message["content"]
        if message["msg_type"] == "status" and content["execution_state"] == "idle":
            return said
        said += content.get("text", "") or "\n".join(content.get("traceback", []))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of several processes of pytest-xdist
        session.config.workeroutput["score"] = dict(score)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    score.update(getattr(node, "workeroutput", {}).get("score", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if score["guarded"]:
        terminalreporter.write_line(
            f"{score['guarded']} numbers guarded, {score['caught']} caught when altered; "
            f"{score['solutions']} solutions pass their checks"
        )
