"""Run every notebook top to bottom, store what it gives, normalised; or check what is stored, without a kernel.

python notebooks/build.py            run all and store
python notebooks/build.py --check    structure only: counts, alt text, sizes, no local paths
python notebooks/build.py 00*.ipynb  only these
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
MARK = "NBVAL_CHECK_OUTPUT"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
ALTLESS = re.compile(r"<img(?![^>]* alt=\"[^\"]{8,}\")")
LOCAL_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|Users|tmp|work|mnt)/\S+")
ENVIRONMENT = {"PCLIB_PROFILE": "demo", "PYTHONHASHSEED": "0"}


def run(path: Path) -> None:
    """Execute one notebook in a fresh kernel and store it, whole or not at all."""
    notebook = nbformat.read(path, as_version=4)
    began = time.perf_counter()
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}).execute()
    normalise(notebook)
    partial = path.with_suffix(".partial")
    nbformat.write(notebook, partial)
    partial.replace(path)
    print(f"{path.name}: {time.perf_counter() - began:.0f} s, {path.stat().st_size / 1e3:.0f} kB")


def normalise(notebook: NotebookNode) -> None:
    """Leave nothing in the file that differs from run to run without a reason."""
    notebook.metadata = NotebookNode(KERNEL)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count = 0
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02d}"
        cell.metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k in ("tags", "jupyter")})
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = [output for output in cell.outputs if not _passing(output)]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count


def _passing(output: NotebookNode) -> bool:
    """Whether an output means nothing once the run is over: progress bars, warnings of the machinery."""
    return output.get("name") == "stderr" or WIDGET_VIEW in output.get("data", {})


def complaints(path: Path) -> list[str]:
    """What is wrong with a stored notebook."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    marked = [cell for cell in code if MARK in cell.source]
    outputs = [output for cell in code for output in cell.outputs]
    found = []
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("stored outputs are not one clean run; make notebooks")
    if any(output.output_type == "error" for output in outputs):
        found.append("a stored error")
    if len(marked) < 3:
        found.append(f"{len(marked)} cells marked {MARK}, at least 3 are wanted")
    found += [f"a marked cell prints no number: {c.source[:60]!r}" for c in marked if not re.search(r"\d", _text(c))]
    shown = [output.data for output in outputs if "data" in output]
    if any("image/png" in data for data in shown) or any(ALTLESS.search(data.get("text/html", "")) for data in shown):
        found.append("a figure without alt text; return plots.with_alt(figure, ...)")
    if path.stat().st_size > 2_000_000:
        found.append(f"{path.stat().st_size / 1e6:.1f} MB, at most 2 are wanted")
    if leaked := LOCAL_PATH.search(path.read_text(encoding="utf-8")):
        found.append(f"a local path: {leaked[0]}")
    if notebook.metadata != KERNEL:
        found.append("metadata not normalised; make notebooks")
    return found + _heading_complaints(notebook)


def _heading_complaints(notebook: NotebookNode) -> list[str]:
    text = "\n".join(
        re.sub(r"```.*?```", "", c.source, flags=re.S) for c in notebook.cells if c.cell_type == "markdown"
    )
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.M)]
    if levels.count(1) != 1 or levels[0] != 1:
        return ["one title, first of all headings, is wanted"]
    return ["a heading skips a level" for above, below in pairwise(levels) if below > above + 1]


def _text(cell: NotebookNode) -> str:
    return "".join(o.get("text", "") + str(o.get("data", {}).get("text/plain", "")) for o in cell.outputs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="[all]")
    parser.add_argument("--check", action="store_true", help="look at what is stored; run nothing")
    options = parser.parse_args()
    paths = options.notebooks or sorted(HERE.glob("[0-9][0-9]_*.ipynb"))
    os.environ.update(ENVIRONMENT)
    if not options.check:
        with tempfile.TemporaryDirectory() as store:  # what is stored was measured now
            os.environ["PCLIB_STORE"] = store
            for path in paths:
                run(path)
    found = [f"{path.name}: {complaint}" for path in paths for complaint in complaints(path)]
    print("\n".join(found) or f"{len(paths)} notebooks in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
