"""Fit on good pictures, find the defects among others, and show why: a folder with a page to open."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from pclib import plots
from pclib._checks import percent
from pclib._files import check_creatable, make_folder, replacing
from pclib.datasets import check_masks, hold_out, open_category
from pclib.detector import Scores
from pclib.framing import usable
from pclib.metrics import Evaluation, evaluate
from pclib.patchcore import PatchCore
from pclib.samples import Category, Sample

HELD_OUT = 20  # good pictures kept from the memory, to set the threshold with
FALSE_ALARMS = 0.05


@dataclass(frozen=True, eq=False)
class Findings:
    """What a detector found in a category's test samples."""

    category: Category
    detector: PatchCore
    scores: Scores
    evaluation: Evaluation
    n_fitted: int
    n_held_out: int
    false_alarms: float

    @property
    def threshold(self) -> float:
        assert self.detector.threshold is not None  # find_defects calibrates
        return self.detector.threshold

    def where(self, label: int, alarm: bool) -> list[int]:
        """Indices of test samples with this label that did (or did not) raise an alarm."""
        pairs = zip(self.scores.samples, self.scores.image > self.threshold, strict=True)
        return [i for i, (sample, alarmed) in enumerate(pairs) if sample.label == label and alarmed == alarm]

    def __str__(self) -> str:
        found, missed = len(self.where(1, True)), len(self.where(1, False))
        false_alarms, quiet = len(self.where(0, True)), len(self.where(0, False))
        return (
            f"{self.category.name}: fitted on {self.n_fitted} good pictures; threshold {plots.number(self.threshold)}, "
            f"from {self.n_held_out} held out (at most {percent(self.false_alarms)} false alarms expected)\n"
            f"{self.evaluation}\n"
            f"defects found: {found} of {found + missed}; false alarms: {false_alarms} of {false_alarms + quiet}"
        )


def find_defects(where: str, detector: PatchCore | None = None, *, skip_bad: bool = False) -> Findings:
    """Open a category, fit on its good pictures but a few, set the threshold with those few, score the test pictures.

    Raises ValueError before the long work if the category has nothing to test on, too few good pictures to hold some
    out, or a picture or mask that cannot be used (`skip_bad` goes on without such pictures).
    """
    detector = detector or PatchCore()
    category = open_category(where)
    if not category.test:
        raise ValueError(f"{where}: has no test pictures; add folders of defective ones beside the good")
    tested = usable(category.test, detector.framing, skip_bad=skip_bad)
    check_masks(tested)
    train = usable(category.train, detector.framing, skip_bad=skip_bad)
    fitted, held_out = hold_out(train, min(HELD_OUT, len(train) // 3))
    if not held_out:
        raise ValueError(f"{where}: {len(train)} good pictures are too few to hold some out; give 3 or more")
    false_alarms = max(FALSE_ALARMS, 1 / (len(held_out) + 1))
    detector.fit(fitted).calibrate(held_out, false_alarms)
    scores = detector.score(tested)
    return Findings(category, detector, scores, evaluate(scores), len(fitted), len(held_out), false_alarms)


def check_report_folder(folder: str | Path) -> None:
    """Raise ValueError unless the folder can be written to and holds nothing, or an earlier report."""
    folder = Path(folder)
    check_creatable(folder)
    page = folder / "index.html"
    ours = page.is_file() and GENERATOR in page.read_text(encoding="utf-8", errors="replace")
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        raise ValueError(f"{folder}: holds files that are not an earlier report; give a new or empty folder")


def write_report(findings: Findings, folder: str | Path) -> Path:
    """Write a figure per found defect and an index.html that shows them all. Returns the page's path."""
    check_report_folder(folder)
    folder = make_folder(folder)
    page = folder / "index.html"
    _write(page, f"<!doctype html>{GENERATOR}<p>This report was not finished: run the command again.</p>")
    for stale in [*folder.glob("found-*.png"), folder / "good.png", folder / "scores.png"]:
        stale.unlink(missing_ok=True)
    scale = (0.0, 2 * findings.threshold)
    _save(plots.score_histogram(findings.scores, findings.threshold), folder / "scores.png")
    calm = _spread(findings.where(0, False), 6)
    if calm:
        _save(plots.gallery(findings.scores, calm, scale, findings.threshold), folder / "good.png")
    limit = plots.number(findings.threshold)
    sections = []
    for i in tqdm(findings.where(1, True), desc="figures"):
        sample = findings.scores.samples[i]
        found = findings.detector.explain(sample)
        name = f"found-{i:03d}.png"
        _save(plots.explanation(found, scale, findings.threshold), folder / name)
        heading = f"{sample.name}: score {plots.number(findings.scores.image[i])}, threshold {limit}"
        sections.append(_figure(name, plots.describe(found), heading))
    _write(page, _page(findings, sections, bool(calm)))
    return page


def _write(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # file names may not be UTF-8


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as partial:
        plots.save_png(figure, partial)


def _spread(indices: Sequence[int], count: int) -> list[int]:
    """At most `count` of the indices, evenly spread."""
    return [indices[i] for i in np.unique(np.linspace(0, len(indices) - 1, count).astype(int))] if indices else []


def _figure(name: str, alt: str, heading: str) -> str:
    caption, alt = html.escape(heading), html.escape(alt, quote=True)
    return f'<figure><figcaption>{caption}</figcaption><img src="{name}" alt="{alt}" loading="lazy"></figure>'


def _names(samples: Sequence[Sample]) -> str:
    return html.escape(", ".join(sample.name for sample in samples) or "none")


GENERATOR = '<meta name="generator" content="pclib">'
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
figure { margin: 1.5rem 0; } img { max-width: 100%; } figcaption { font-weight: 600; } pre { background: #f4f4f4;
padding: 1rem; overflow-x: auto; } .key span { border: 2px solid; padding: 0 .4em; margin-right: .6em; }
"""


def _page(findings: Findings, sections: list[str], calm: bool) -> str:
    samples = findings.scores.samples
    missed = _names([samples[i] for i in findings.where(1, False)])
    alarms = _names([samples[i] for i in findings.where(0, True)])
    title = html.escape(f"Defects found in {findings.category.name}")
    good = ""
    if calm:
        good = "<h2>Good pictures on the same scale</h2>" + _figure(
            "good.png", "Good test pictures above their anomaly maps, which stay dark", "Dark means: seen before."
        )
    histogram = _figure(
        "scores.png", "Histogram of image scores of good and defective pictures, with the threshold", "Image scores"
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{GENERATOR}
<title>{title}</title>
<style>{_STYLE}</style>
<h1>{title}</h1>
<pre>{html.escape(str(findings))}</pre>
<p>Every map is drawn on one scale, from 0 (seen before) to twice the threshold and beyond. A picture raises an alarm
when its worst patch exceeds the threshold; where the blurred map exceeds it too, a white line runs round.</p>
<p class="key"><span style="border-color:{plots.OUTLINE}">defect as masked</span>
<span style="border-color:{plots.MARK}">patch explained</span>
<span style="border-color:{plots.MARK};border-style:dashed">all that its first layer sees</span></p>
{histogram}
{good}
<h2>Defects found</h2>
{"".join(sections) or "<p>none</p>"}
<h2>Not so good</h2>
<p>Defects missed: {missed}.<br>False alarms: {alarms}.</p>
</html>
"""
