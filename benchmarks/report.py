"""Write docs/speed.md from results.json: what was measured, on which machine.

python benchmarks/report.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "speed.md"
HEAD = """# Speed, side by side

Written by `make bench` from `benchmarks/results.json`. Times are from the machine named with each table; ratios travel
better than seconds. Every measurement ran in a process of its own, methods in turn; seconds are medians over rounds
(least to most), memory is what the work takes beyond what was held before it. A bar is what the project asks of itself.

"""


def seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def markdown(section: dict[str, Any]) -> str:
    """One section as a heading, its tables and its notes."""
    machine = section["machine"]
    lines = [
        f"## {section['title']}",
        "",
        f"{section['work']}.",
        "",
        "| method | seconds | MiB |",
        "|---|---|---|",
    ]
    for name, found in section["methods"].items():
        spread = f"{seconds(found['seconds'])} ({seconds(found['least'])} to {seconds(found['most'])})"
        lines.append(f"| {name} | {spread} | {found['MiB']:.0f} |")
    lines += ["", "| ratio of seconds | median | least | most | bar |", "|---|---|---|---|---|"]
    for ratio in section["ratios"]:
        values = " | ".join(f"{ratio[key]:.3g}" for key in ("median", "least", "most"))
        lines.append(f"| {ratio['slower']} / {ratio['faster']} | {values} | {ratio['bar'] or ''} |")
    lines += ["", *(f"- {note}" for note in section["notes"]), ""]
    lines += [
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['versions']}; matrix products "
        f"{machine['float32']:.0f} Gflop/s in float32 and {machine['bfloat16']:.0f} in bfloat16, copies "
        f"{machine['bandwidth']:.0f} GB/s, measured in the same rounds.",
        "",
    ]
    return "\n".join(lines)


def page(results: dict[str, dict]) -> str:
    return HEAD + "\n".join(markdown(section) for section in results.values())


def main() -> None:
    PAGE.write_text(page(json.loads((HERE / "results.json").read_text())))


if __name__ == "__main__":
    main()
