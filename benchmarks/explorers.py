"""How long explorers take to answer in JupyterLab: from a key press to the last picture, decoded, or word that changes.

    python benchmarks/explorers.py [--presses 20] [--large]

Explorers have 30 training and 28 test pictures of toybox/washer at 224 pixels, and have prepared what they prepare.
Opening is from running the cell to the last picture. --large adds the coreset explorer with 200,704 patches, mixtures
of real ones in which no place of a picture means anything. The table is printed, and nothing asserted: times depend on
the machine, and on what else it does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from in_browser import Lab, Notebook, browsing, lacking
from playwright.sync_api import Locator

SETUP = """
import numpy as np
from dataclasses import replace
from pclib.datasets import open_category
from pclib.framing import Pictures
from pclib.extraction import silent
from pclib.widgets import *

material = gather(progress=silent)
"""
MIXED = """
real, rng = material.train_features.reshape(-1, 1024), np.random.default_rng(0)
features = np.empty((256, 28, 28, 1024), np.float32)
for one in features:
    share = rng.random((784, 1), np.float32)
    pairs = real[rng.integers(len(real), size=(2, 784))]
    one[:] = (share * pairs[0] + (1 - share) * pairs[1]).reshape(one.shape)
which = np.arange(256) % len(material.train.samples)
train = material.train
samples, digests = ([each[i] for i in which] for each in (train.samples, train.digests))
material = replace(material, train=Pictures(samples, train.pixels[which], digests), train_features=features)
"""
EXPLORERS = {
    "coreset": "CoresetExplorer(material)",
    "scores": "ScoreExplorer(material)",
    "features": "FeatureExplorer(open_category('toybox/washer').test[::7])",
    "metrics": "MetricExplorer(material.scores())",
    "table": "TableExplorer()",
    "toybox": "ToyboxExplorer()",
}
KEYS = {
    "slider": ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft"),
    "combobox": ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp"),
    "checkbox": ("Space",),
    "application": ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"),
    "grid": ("Enter", "ArrowRight"),
}
# Resolves to the milliseconds from the next key press to the last change before 300 ms are quiet, or null for none.
# A slider's own words do not count: they change without an answer.
WATCH = """root => { window.answered = new Promise(resolve => {
  let pressed = null, last = null, waiting = 0;
  addEventListener("keydown", () => { pressed = performance.now(); }, { capture: true, once: true });
  const shown = () => requestAnimationFrame(() => { waiting -= 1; last = performance.now(); });
  const observer = new MutationObserver(changes => {
    for (const { type, target } of changes) {
      if (target.closest(".pclib-slider")) continue;
      waiting += 1;
      (type === "attributes" ? target.decode().catch(() => {}) : Promise.resolve()).then(shown);
    }
  });
  observer.observe(root, { subtree: true, attributes: true, attributeFilter: ["src"], childList: true });
  const look = () => {
    const quiet = pressed === null ? 0 : performance.now() - (last ?? pressed + 2000);
    if (waiting || quiet < 300) return setTimeout(look, 20);
    observer.disconnect();
    resolve(last === null ? null : last - pressed);
  };
  look();
}); }"""


def answers(root: Locator, control: Locator, keys: tuple[str, ...], presses: int) -> list[float]:
    """Milliseconds of those presses that changed something."""
    control.focus()
    found = []
    for key in islice(cycle(keys), presses):
        root.evaluate(WATCH)
        root.page.keyboard.press(key)
        found.append(root.page.evaluate("() => window.answered"))
    return [milliseconds for milliseconds in found if milliseconds is not None]


def controls(root: Locator) -> Iterator[tuple[str, str, Locator]]:
    """Role, name and place of everything that keys move."""
    for role in list(KEYS)[:-1]:
        for one in root.get_by_role(role).all():  # type: ignore[arg-type]
            name = one.evaluate("e => e.ariaLabel || e.labels?.[0]?.textContent || ''")
            yield role, name.split(": point")[0].strip(), one
    cells = root.get_by_role("gridcell").get_by_role("button")
    if cells.count():
        yield "grid", "Its cells", cells.first


def opening(notebook: Notebook) -> float:
    """Seconds from running the cell of an explorer to its last picture."""
    began = time.perf_counter()
    notebook.run(1, patience=900)
    notebook.explorer.locator("img").first.wait_for()
    notebook.explorer.evaluate("root => Promise.all([...root.querySelectorAll('img')].map(image => image.decode()))")
    return time.perf_counter() - began


def measured(lab: Lab, name: str, setup: str, source: str, presses: int, only: str | None = None) -> None:
    """Print a line for each control of an explorer."""
    notebook = lab.open(setup, f"shown = {source}\nshown", "shown.state.prepare()", run=False)
    notebook.wait_for_kernel()
    notebook.run(0, patience=900)
    took = opening(notebook)
    notebook.run(2, patience=900)
    print(f"{name}: opened in {took:.1f} s", flush=True)
    for role, label, control in controls(notebook.explorer):
        if only in (None, label):
            found = answers(notebook.explorer, control, KEYS[role], presses)
            times = "{:7.0f} {:7.0f}".format(*np.percentile(found, (50, 95))) if found else f"{'-':>7} {'-':>7}"
            print(f"  {role:<12} {label[:50]:<50} {times} {len(found):>4}", flush=True)
    notebook.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=20, help="of each control [%(default)s]")
    parser.add_argument("--large", action="store_true", help="the coreset explorer with 200,704 patches, too")
    options = parser.parse_args()
    if reason := lacking():
        raise SystemExit(reason)
    print(f"{'':<65} median    95 %    n")
    print(f"{'':<63} milliseconds, presses that changed something")
    with tempfile.TemporaryDirectory() as folder, browsing() as context:
        notebooks = Path(folder) / "notebooks"
        notebooks.mkdir()
        with Lab(notebooks, context).running() as lab:
            for name, source in EXPLORERS.items():
                measured(lab, name, SETUP, source, options.presses)
            if options.large:
                source = EXPLORERS["coreset"]
                measured(lab, "coreset, 200,704 patches", SETUP + MIXED, source, options.presses, "Patches kept")


if __name__ == "__main__":
    main()
