"""Run notebooks top to bottom, compare with what is stored, store; or check what is stored, without a kernel.

python notebooks/build.py                     run all; store each whose marked outputs are as before
python notebooks/build.py --accept 03*.ipynb  run this one, and store what has changed on purpose
python notebooks/build.py --check             structure, prose and numbers only; runs nothing
"""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbformat import NotebookNode
from suite import numbers
from suite.cells import code, marked, printed
from suite.environment import ENVIRONMENT
from suite.structure import KERNEL, PROMISE, complaints

from pclib._watch import Watch

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
GUARDED = re.compile(r"\d+ numbers guarded, \d+ caught when altered")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def run(path: Path, accept: bool) -> list[str]:
    """Execute one notebook in a fresh kernel and store it, whole or not at all. Returns what differs from before.

    Where a cell that is compared gives something else than is stored, nothing is stored unless `accept` says so.
    """
    notebook = nbformat.read(path, as_version=4)
    before = {cell.source: printed(cell.outputs) for cell in marked(notebook) if cell.outputs}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(HERE)}})
    with Watch(_held_by_children, looks=0.1) as watch, watch.stage("run"):
        client.execute()
    seconds, most = watch.seconds["run"], watch.most
    normalise(notebook)
    differences = [
        line
        for cell in marked(notebook)
        if cell.source in before and not numbers.same(before[cell.source], printed(cell.outputs))
        for line in difflib.unified_diff(
            before[cell.source].splitlines(), printed(cell.outputs).splitlines(), "stored", "now", lineterm="", n=0
        )
    ]
    if differences and not accept:
        return [f"{path.name}: not stored, as it gives something else than before (--accept stores it):", *differences]
    _promise(notebook, seconds, most)
    partial = path.with_suffix(".partial")
    nbformat.write(notebook, partial)
    partial.replace(path)
    print(f"{path.name}: {seconds:.0f} s, {most / 1e9:.2f} GB, {path.stat().st_size / 1e3:.0f} kB on disk")
    return []


def normalise(notebook: NotebookNode) -> None:
    """Leave nothing in the file that differs from run to run without a reason."""
    notebook.metadata = NotebookNode(KERNEL)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02d}"
        cell.metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k in ("tags", "jupyter")})
    for count, cell in enumerate(code(notebook), 1):
        cell.execution_count = count
        cell.outputs = _joined([output for output in cell.outputs if not _passing(output)])
        for output in cell.outputs:
            output.get("data", {}).pop(WIDGET_VIEW, None)  # of an explorer, which stays as its figure
            if output.output_type == "execute_result":
                output.execution_count = count


def _passing(output: NotebookNode) -> bool:
    """Whether an output means nothing once the run is over: progress bars, warnings of the machinery."""
    data = output.get("data", {})
    return output.get("name") == "stderr" or (WIDGET_VIEW in data and "text/html" not in data)


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """What was printed in several goes, as one output: where it was split is chance."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _held_by_children() -> int:
    """Bytes held by this process's children, kernels and what they start."""
    held = 0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            held += child.memory_info().rss
    return held


def _promise(notebook: NotebookNode, seconds: float, most: float) -> None:
    """Write time and memory, rounded up, into the first cell; a promise that still fits well stays as it is."""
    first = notebook.cells[0]
    if found := PROMISE.search(first.source):
        promised = float(found[1]) * (1 if found[2] == "seconds" else 60)
        if 0.6 * promised < seconds <= promised and 0.7 * float(found[3]) < most / 1e9 <= float(found[3]):
            return
        first.source = first.source.replace(found[0], "").rstrip()
    if seconds <= 50:
        took = f"{math.ceil(seconds / 10) * 10} seconds"
    else:
        minutes = math.ceil(seconds / 30) / 2
        took = f"{minutes:g} minute{'s' if minutes != 1 else ''}"
    line = f"*Measured with two threads: {took}, {math.ceil(most / 1e8) / 10} GB of memory.*"
    first.source = f"{first.source}\n\n{line}"


def guarded(paths: list[Path]) -> int:
    """How many numbers the comparison of these notebooks guards."""
    notebooks = (nbformat.read(path, as_version=4) for path in paths)
    return sum(numbers.count(printed(cell.outputs)) for notebook in notebooks for cell in marked(notebook))


def say_score(count: int) -> None:
    """Write into the README how many numbers are guarded. The bite test fails unless all of them are caught."""
    text = README.read_text(encoding="utf-8")
    README.write_text(GUARDED.sub(f"{count} numbers guarded, {count} caught when altered", text), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="[all]")
    parser.add_argument("--check", action="store_true", help="look at what is stored; run nothing")
    parser.add_argument("--accept", action="store_true", help="store outputs that differ from what was stored")
    options = parser.parse_args()
    everything = sorted(HERE.glob("[0-9][0-9]_*.ipynb"))
    paths = options.notebooks or everything
    os.environ.update(ENVIRONMENT)
    found = []
    if not options.check:
        with tempfile.TemporaryDirectory() as store:  # what is stored was measured now
            os.environ["PCLIB_STORE"] = store
            for path in paths:
                found += run(path, options.accept)
        say_score(guarded(everything))
    found += [f"{path.name}: {complaint}" for path in paths for complaint in complaints(path)]
    said = GUARDED.search(README.read_text(encoding="utf-8"))
    count = guarded(everything)
    if said is None or int(said[0].split()[0]) != count:
        found.append(f"README.md says {said and said[0]!r}, but {count} are; make notebooks")
    print("\n".join(found) or f"{len(paths)} notebooks in order, {count} numbers guarded")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
