"""What pclib scores on real categories beside what the authors' code scores, with time and memory.

    python benchmarks/real.py FOLDER [CATEGORY ...]

FOLDER holds categories in MVTec AD layout and a REFERENCE.md with a table `| category | share | seed | image AUROC |
pixel AUROC |`. Every measurement runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

ROW = re.compile(r"^\| (\w+) \| ([\d.]+) \| (\d) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)


def measure(folder: str, share: float, seed: int) -> dict[str, float]:
    """Fit and score one category; seconds include loading the libraries and the backbone."""
    began = time.perf_counter()
    from pclib import PatchCore, evaluate, open_category

    category = open_category(folder)
    detector = PatchCore("tf_efficientnet_lite0", coreset=share, seed=seed)
    ready = time.perf_counter()
    detector.fit(category.train)
    fitted = time.perf_counter()
    scores = detector.score(category.test)
    scored = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = evaluate(scores)
    return {
        "image AUROC": found.image_auroc,
        "pixel AUROC": found.pixel_auroc,
        "PRO": found.pro,
        "load s": ready - began,
        "fit s": fitted - ready,
        "score s": scored - fitted,
        "MiB": memory,
    }


def in_own_process(folder: Path, share: float, seed: int) -> dict[str, float]:
    call = f"runpy.run_path({__file__!r})['measure']({str(folder)!r}, {share}, {seed})"
    code = f"import json, runpy; print(json.dumps({call}))"
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("categories", nargs="*", help="those to measure [all]")
    options = parser.parse_args()
    rows = []
    for category, share, seed, image, pixel in ROW.findall((options.folder / "REFERENCE.md").read_text()):
        if options.categories and category not in options.categories:
            continue
        found = in_own_process(options.folder / category, float(share), int(seed))
        published = {"authors' image": float(image), "authors' pixel": float(pixel)}
        rows.append({"category": category, "share": share, "seed": seed, **published, **found})
        print(pd.DataFrame(rows[-1:]).round(4).to_string(index=False, header=len(rows) == 1), flush=True)
    print("\n" + pd.DataFrame(rows).round(4).to_string(index=False))


if __name__ == "__main__":
    main()
