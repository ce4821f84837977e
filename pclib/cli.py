"""The few commands that make sense outside a notebook."""

from __future__ import annotations

import argparse
import csv
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pclib import __version__

if TYPE_CHECKING:
    from pclib.detector import Scores
    from pclib.inventory import CategoryStatus, DataSet
    from pclib.patchcore import PatchCore

# Heavy modules load inside the commands: `pclib --help` must answer at once.

METHOD_OPTIONS = (
    *("backbone", "layers", "resize", "crop", "coreset"),
    *("neighbors", "protocol", "seed", "device", "precision"),
)
EXAMPLES = """examples:
  pclib demo                                    find defects in the embedded washers, write demo/index.html
  pclib explore coreset toybox/gravel           move what is kept, and see what it does, in a browser
  pclib fit good_pictures/ -o bank.safetensors  learn from a folder of good pictures
  pclib score bank.safetensors new/ --csv scores.csv --maps maps/
  pclib evaluate path/to/mvtec/bottle           image AUROC, pixel AUROC and PRO of a category
  pclib data fetch visa                         download a known data set, or say what of it is here: data status
  pclib sweep S1 --plan                         what measuring table S1 would take; without --plan, measure it
  pclib toybox export pictures/                 the embedded categories as files, in MVTec AD's layout
  pclib doctor                                  what is installed, what is missing, what to do
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, or 1 for input that was refused, or 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold what a terminal cannot show
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"pclib: {message}", file=sys.stderr)
            return options.run(options) or 0
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(f"pclib: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pclib: interrupted; nothing half-written is left behind", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pclib",
        description="PatchCore: find defects in industrial images, learning from good images alone.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pclib {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = _command(commands, "demo", _demo, "find defects, explain them, write a page to open")
    demo.add_argument("category", nargs="?", default="toybox/washer", help="toybox/<name> or a folder [%(default)s]")
    demo.add_argument("--out", default="demo", metavar="DIR", help="folder to write to [%(default)s]")
    _method_options(demo)
    _skip_option(demo)

    explore = _command(commands, "explore", _explore, "put your hands on it: an explorer as a page, without a notebook")
    explore.add_argument("name", help="coreset, scores, features, metrics, table or toybox")
    explore.add_argument("category", nargs="?", help="toybox/<name> or a folder [toybox/washer]")
    explore.add_argument("--open", action="store_true", help="open the page in a browser")

    fit = _command(commands, "fit", _fit, "learn from good pictures, write a bank file")
    fit.add_argument("folder", help="good pictures: a plain folder, one with good/, or MVTec AD layout")
    fit.add_argument("-o", "--out", required=True, metavar="FILE", help="bank file to write, e.g. bank.safetensors")
    fit.add_argument(
        "--hold-out", type=int, metavar="N", help="good pictures to set the threshold with [a fifth, if enough]"
    )
    fit.add_argument("--false-alarms", type=float, default=0.05, metavar="RATE", help="rate to allow [%(default)s]")
    _method_options(fit)
    _skip_option(fit)

    score = _command(commands, "score", _score, "score pictures with a bank file")
    score.add_argument("bank", help="bank file written by fit")
    score.add_argument("images", nargs="+", help="pictures, or folders of them")
    score.add_argument("--csv", metavar="FILE", help="write scores, verdicts and the worst pixel of each picture")
    score.add_argument("--maps", metavar="DIR", help="write each picture with its anomaly map")
    score.add_argument("--device", default="auto", help="auto, cpu, cuda [%(default)s]")
    _skip_option(score)

    evaluate = _command(commands, "evaluate", _evaluate, "fit on a category and measure on its test pictures")
    evaluate.add_argument("folder", help="toybox/<name> or a folder with good and defective pictures")
    _method_options(evaluate)
    _skip_option(evaluate)

    toybox = commands.add_parser("toybox", help="the embedded categories: list them, or write them as files")
    inside = toybox.add_subparsers(required=True, metavar="COMMAND")
    _command(inside, "list", _list_toybox, "name the embedded categories and their defects")
    catalogue = _command(inside, "catalogue", _catalogue, "draw good and defective pictures of every embedded category")
    catalogue.add_argument("file", help="PNG or JPEG file to write")
    export = _command(inside, "export", _export_toybox, "write embedded categories as files in MVTec AD's layout")
    export.add_argument("folder", help="folder to write, one folder per category inside")
    export.add_argument("--category", nargs="+", metavar="NAME", help="only these [all]")
    export.add_argument("--force", action="store_true", help="replace a folder that is not empty")
    _toybox_options(export)

    data = commands.add_parser("data", help="known data sets (mvtec, visa): say what of them is here, or get them")
    inside = data.add_subparsers(required=True, metavar="COMMAND")
    state = _command(inside, "status", _data_status, "say what of a known data set is here, and what is missing")
    state.add_argument("name", nargs="?", help="mvtec or visa [both]")
    state.add_argument("--checksums", action="store_true", help="a SHA-256 of each category, to compare two copies")
    fetch = _command(inside, "fetch", _data_fetch, "download a known data set, check it and unpack it")
    fetch.add_argument("name", help="mvtec or visa")
    fetch.add_argument("--accept-licence", action="store_true", help="accept its licence without being asked")

    sweep = _command(commands, "sweep", _sweep, "measure the cells of tables S1-S4; stopped, the same command goes on")
    sweep.add_argument("tables", nargs="*", metavar="TABLE", help="S1, S2, S3, S4 [all]")
    sweep.add_argument("--methods", nargs="+", metavar="ROW", help="rows that can be run: PatchCore-25, ... [all]")
    sweep.add_argument("--categories", nargs="+", metavar="NAME", help="[all; of the embedded ones three]")
    sweep.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N - 1 [%(default)s]")
    sweep.add_argument("--data", help="mvtec, visa, toybox, or a folder of category folders [mvtec, or toybox]")
    sweep.add_argument("--cluster", metavar="ADDRESS", help="of a Dask scheduler, e.g. tcp://host:8786 [this process]")
    sweep.add_argument("--again", action="store_true", help="measure what the store has once more")
    sweep.add_argument("--plan", action="store_true", help="measure no cell, only stages, to say what it would take")

    results = commands.add_parser("results", help="the store of measured cells: write it as a table, or take another's")
    inside = results.add_subparsers(required=True, metavar="COMMAND")
    written = _command(inside, "export", _export_results, "write the last measurement of every cell as a table")
    written.add_argument("file", help="file to write, .csv or .parquet")
    taken = _command(
        inside, "import", _import_results, "add another store's measurements, and say where the two differ"
    )
    taken.add_argument("folder", help="the other store's folder")

    _command(commands, "doctor", _doctor, "say what is installed and what to do about the rest")
    return parser


def _command(commands: Any, name: str, run: Callable, purpose: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
    command.set_defaults(run=run)
    return command


def _method_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("method")
    group.add_argument("--backbone", default="tf_efficientnet_lite0", help="e.g. wide_resnet50_2 [%(default)s]")
    group.add_argument("--layers", nargs="+", help="its layers, shallow to deep [the middle two]")
    group.add_argument("--resize", type=int, default=256, help="pixels of the shorter side [%(default)s]")
    group.add_argument("--crop", type=int, default=224, help="pixels of the central square [%(default)s]")
    group.add_argument(
        "--coreset", type=float, default=0.1, metavar="SHARE", help="share of patches kept [%(default)s]"
    )
    group.add_argument("--neighbors", type=int, default=1, metavar="K", help="nearest patches averaged [%(default)s]")
    group.add_argument("--protocol", default="official", choices=("official", "paper"), help="[%(default)s]")
    group.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda [%(default)s]")
    group.add_argument("--precision", default="float32", choices=("float32", "bfloat16"), help="[%(default)s]")


def _toybox_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("pictures")
    group.add_argument("--train", type=int, default=60, help="good pictures to train on [%(default)s]")
    group.add_argument("--good", type=int, default=20, help="good pictures to test on [%(default)s]")
    group.add_argument("--defective", type=int, default=32, help="defective pictures to test on [%(default)s]")
    group.add_argument("--size", type=int, default=256, help="pixels a side [%(default)s]")
    group.add_argument("--seed", type=int, default=0, help="[%(default)s]")
    group.add_argument(
        "--knobs", nargs="+", default=[], metavar="NAME=VALUE", help="e.g. contrast=0.5; pclib toybox list names them"
    )


def _skip_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--skip-bad", action="store_true", help="go on without unreadable pictures, and name them")


def _detector(options: argparse.Namespace) -> PatchCore:
    from pclib.patchcore import PatchCore

    return PatchCore(**{name: getattr(options, name) for name in METHOD_OPTIONS})


def _demo(options: argparse.Namespace) -> None:
    from pclib.demo import check_report_folder, find_defects, write_report

    check_report_folder(options.out)
    findings = find_defects(options.category, _detector(options), skip_bad=options.skip_bad)
    print(findings)
    page = write_report(findings, options.out)
    print(f"figures and explanations: {page.resolve()}")


def _explore(options: argparse.Namespace) -> None:
    from pclib.explore import serve

    def say(address: str) -> None:
        print(f"open {address}\nCtrl-C ends it", flush=True)

    serve(options.name, options.category, say=say, show=options.open)


def _fit(options: argparse.Namespace) -> None:
    from pclib._checks import percent
    from pclib._files import check_target
    from pclib.datasets import hold_out, open_category
    from pclib.framing import usable
    from pclib.scoring import good_needed

    check_target(options.out)
    needed, detector = good_needed(options.false_alarms), _detector(options)
    train = usable(open_category(options.folder).train, detector.framing, skip_bad=options.skip_bad)
    fifth = len(train) // 5
    count = (fifth if fifth >= needed else 0) if options.hold_out is None else options.hold_out
    if 0 < count < needed:
        raise ValueError(
            f"--hold-out {count} is too few for --false-alarms {options.false_alarms:g}, which takes {needed}; "
            "raise one of the two, or use --hold-out 0 for no threshold"
        )
    fitted, held_out = hold_out(train, count)
    detector.fit(fitted)
    if held_out:
        detector.calibrate(held_out, options.false_alarms)
        rate = percent(options.false_alarms)
        print(
            f"threshold {detector.threshold:.6g}: from {count} good pictures held out, for at most {rate} false alarms"
        )
    elif options.hold_out is None:
        print(f"no threshold: a fifth of {len(train)} pictures is fewer than {needed}; use --hold-out, or give more")
    detector.save(options.out)
    print(f"{detector.bank} written to {options.out}")


def _score(options: argparse.Namespace) -> None:
    from pclib._files import check_creatable, check_target
    from pclib.datasets import open_images
    from pclib.patchcore import PatchCore

    if options.csv:
        check_target(options.csv)
    if options.maps:
        check_creatable(options.maps)
    samples = open_images(options.images)
    detector = PatchCore.load(options.bank, device=options.device)
    scores = detector.score(samples, skip_bad=options.skip_bad)
    rows = _rows(scores, detector.threshold)
    width = max(len(row["image"]) for row in rows)
    for row in rows:
        print(f"{row['image']:<{width}}  {row['score']:>10}  {row['verdict']}")
    if options.csv:
        _write_csv(Path(options.csv), rows)
    if options.maps:
        _write_maps(Path(options.maps), scores, detector.threshold)


def _rows(scores: Scores, threshold: float | None) -> list[dict[str, str]]:
    """What the CSV says of each picture; the worst pixel is in the original picture's coordinates."""
    import numpy as np

    from pclib.framing import Box

    rows = []
    assert scores.maps is not None  # PatchCore always gives maps
    for sample, image, pixels in zip(scores.samples, scores.image, scores.maps, strict=True):
        row, col = np.unravel_index(pixels.argmax(), pixels.shape)
        place = scores.framing.in_source(Box(int(row), int(col), int(row) + 1, int(col) + 1), sample.size)
        verdict = "" if threshold is None else "anomalous" if image > threshold else "good"
        rows.append(
            {
                "image": sample.name,
                "score": f"{image:.6g}",
                "threshold": "" if threshold is None else f"{threshold:.6g}",
                "verdict": verdict,
                "worst_row": str(place.top),
                "worst_column": str(place.left),
            }
        )
    return rows


def _write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    from pclib._files import replacing

    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_maps(folder: Path, scores: Scores, threshold: float | None) -> None:
    """A numbered figure per picture: the picture, and its map on a scale that is the same for all."""
    from tqdm.auto import tqdm

    from pclib import plots
    from pclib._files import make_folder, replacing

    folder = make_folder(folder)
    scale = plots.map_range(scores) if threshold is None else (0.0, 2 * threshold)
    for i, sample in enumerate(tqdm(scores.samples, desc="maps")):
        figure = plots.gallery(scores, [i], scale, threshold)
        place = "-".join(Path(sample.name).with_suffix("").parts[-2:])  # the number keeps names apart
        with replacing(folder / f"{i:04d}-{place[-80:]}.png") as partial:
            plots.save_png(figure, partial)


def _evaluate(options: argparse.Namespace) -> None:
    from pclib.datasets import check_masks, open_category
    from pclib.framing import usable
    from pclib.metrics import evaluate

    category, detector = open_category(options.folder), _detector(options)
    if not category.test:
        raise ValueError(f"{options.folder}: has no test pictures to evaluate on")
    tested = usable(category.test, detector.framing, skip_bad=options.skip_bad)
    check_masks(tested)
    print(category)
    detector.fit(category.train, skip_bad=options.skip_bad)
    print(evaluate(detector.score(tested)))


def _list_toybox(options: argparse.Namespace) -> None:
    from pclib.toybox import CATEGORIES
    from pclib.toybox.knobs import Knobs

    for name, recipe in CATEGORIES.items():
        print(f"{name:<13} {recipe.title}: {', '.join(recipe.defects)}")
    print("\nknobs:")
    for name, (low, high) in Knobs.ranges().items():
        print(f"{name:<13} {Knobs.meanings()[name]}; {low:g} to {high:g}, by default {getattr(Knobs(), name):g}")


def _catalogue(options: argparse.Namespace) -> None:
    from pclib import plots
    from pclib._files import check_target, replacing
    from pclib.toybox import NAMES, Toybox

    kinds: dict[str, Literal["png", "jpeg"]] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}
    kind = kinds.get(Path(options.file).suffix.lower())
    if kind is None:
        raise ValueError(f"{options.file}: name a file that ends in .png or .jpg")
    check_target(options.file)
    drawn = plots.with_alt(plots.catalogue([Toybox(name) for name in NAMES]), alt="", dpi=100, kind=kind)
    with replacing(options.file) as partial:
        partial.write_bytes(drawn.data)


def _export_toybox(options: argparse.Namespace) -> None:
    from pclib.export import export
    from pclib.toybox import NAMES, Toybox

    asked: dict[str, Any] = {name: getattr(options, name) for name in ("train", "good", "defective", "size", "seed")}
    asked |= dict(map(_setting, options.knobs))
    categories = [Toybox(name, **asked) for name in options.category or NAMES]
    aside = export(categories, options.folder, force=options.force)
    if aside:
        print(f"what was in {options.folder} is now in {aside}")
    for category in categories:
        print(f"{options.folder}: {category!r}")


def _setting(text: str) -> tuple[str, float]:
    """A knob's name and value, from NAME=VALUE."""
    name, _, value = text.partition("=")
    try:
        return name.replace("-", "_"), float(value)
    except ValueError as error:
        raise ValueError(f"--knobs {text}: give NAME=VALUE, such as contrast=0.5") from error


def _data_status(options: argparse.Namespace) -> None:
    from pclib.inventory import DATA_SETS, by_hand, folder, known, status

    for data in [known(options.name)] if options.name else DATA_SETS.values():
        seen = status(data.name, checksums=options.checksums)
        complete = sum(category.state == "complete" for category in seen)
        print(f"{data.title}: {complete} of {len(seen)} categories complete in {folder(data.name)}")
        for category in seen:
            print(f"  {_status_line(category)}")
        if complete < len(seen):
            print(f"  to complete it, {by_hand(data)}")


def _status_line(seen: CategoryStatus) -> str:
    from pclib._checks import some

    line = f"{seen.category:<10}  {seen.state:<10}  {seen.found} of {seen.expected} files"
    if seen.state == "incomplete":
        line += f"; missing {some(seen.lacking)}"
    return line if seen.checksum is None else f"{line}  {seen.checksum}"


def _data_fetch(options: argparse.Namespace) -> int:
    from pclib.fetch import fetch
    from pclib.inventory import known, status

    data = known(options.name)
    complete = all(seen.state == "complete" for seen in status(data.name))
    accepted = options.accept_licence or (not complete and sys.stdin.isatty() and _accepts(data))
    try:
        folder = fetch(data.name, accept_licence=accepted)
    except KeyboardInterrupt:
        print("pclib: interrupted; the same command goes on from where the download ended", file=sys.stderr)
        return 130
    if not complete:
        print(f"{data.title} is in {folder} ({data.licence}); if you publish, cite {data.citation}")
    return 0


def _accepts(data: DataSet) -> bool:
    """Ask on the terminal whether the licence is accepted."""
    from pclib.fetch import licence

    print(f"{licence(data)}, and is {data.archive.bytes / 1e9:.1f} GB to download")
    return input("Do you accept that? [y/N] ").strip().lower() in ("y", "yes")


def _sweep(options: argparse.Namespace) -> int:
    from pclib import sweep
    from pclib._checks import counted
    from pclib.cells import named_data
    from pclib.configurations import TABLES
    from pclib.forecast import estimate
    from pclib.store import Store
    from pclib.tables import Reasons

    plan = sweep.plan(
        options.tables or TABLES, options.methods, options.categories, seeds=options.seeds, data=options.data
    )
    store = Store()
    todo = plan.due(store) if options.again else plan.missing(store)
    data = named_data(options.data)
    print(f"{plan} on {data}, of which {len(plan) - len(plan.missing(store))} are in {store.folder}", flush=True)
    why = Reasons(data, {})
    for reason, count in Counter(filter(None, (why.obstacle(c.configuration, c.category) for c in todo))).items():
        print(f"{counted(count, 'cell')} cannot be run here: {reason}; pclib doctor says what to do", flush=True)
    if todo:
        print(estimate(todo.groups(), store), flush=True)
    if options.plan or not todo:
        return 0
    try:
        report = sweep.run(plan, store, options.cluster, again=options.again)
    except KeyboardInterrupt:
        print("pclib: interrupted; what was measured is kept, and the same command goes on", file=sys.stderr)
        return 130
    print(report)
    return 1 if report.failed else 0


def _export_results(options: argparse.Namespace) -> None:
    from pclib.store import Store

    print(f"{len(Store().runs())} cells written to {Store().export(options.file)}")


def _import_results(options: argparse.Namespace) -> None:
    from pclib.store import FILE, Store

    if not (Path(options.folder) / FILE).is_file():
        raise FileNotFoundError(f"{options.folder}: no store is there; name the folder that holds {FILE}")
    taken = Store().take(Store(options.folder))
    print(taken)
    if taken.conflicts:
        print(taken.differences().to_string(index=False))


def _doctor(options: argparse.Namespace) -> int:
    from pclib.doctor import examine

    ready = True
    for finding in examine():
        print(f"{'ok' if finding.ok else '--':<3} {finding.what:<20} {finding.detail}")
        ready &= finding.ok or not finding.needed
    print("ready for the demo and the notebooks" if ready else "not ready: see the lines marked -- above")
    return 0 if ready else 1


if __name__ == "__main__":
    sys.exit(main())
