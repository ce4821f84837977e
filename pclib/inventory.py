"""Which data sets are known, what belongs to them, and what of it is here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pclib._checks import near, some
from pclib._files import sha256
from pclib.datasets import MASKS, SPLIT, SUFFIXES, split_rows
from pclib.profile import DATA_VARIABLES, data_folder, user_folder
from pclib.samples import GOOD


@dataclass(frozen=True)
class Counts:
    """How many pictures a category has: good ones to train on, good ones to test on, and those of each defect."""

    train: int
    good: int
    defects: dict[str, int]

    @property
    def files(self) -> int:
        """All pictures, and a mask for each defective one."""
        return self.train + self.good + 2 * sum(self.defects.values())


@dataclass(frozen=True)
class Archive:
    """The one file that a data set is published as."""

    url: str
    sha256: str
    bytes: int
    file_name: str


@dataclass(frozen=True)
class DataSet:
    """A published data set. `split`: the file that says which pictures belong to it, if they are not numbered."""

    name: str
    title: str
    licence: str
    licence_url: str
    terms: str
    home: str
    citation: str
    archive: Archive
    categories: dict[str, Counts]
    folder_variable: str
    split: str | None = None


@dataclass(frozen=True)
class CategoryStatus:
    """What of a category is here. `found` and `expected` count pictures and masks; `lacking` names what is not here."""

    category: str
    folder: Path
    state: str  # "complete", "incomplete" or "missing"
    found: int
    expected: int
    lacking: list[str]
    checksum: str | None


def known(name: str) -> DataSet:
    """The data set `name`; raises ValueError with the names there are if it is not among them."""
    if name not in DATA_SETS:
        raise ValueError(f"no data set {name!r} is known; there is {near(name, DATA_SETS)}")
    return DATA_SETS[name]


def folder(name: str) -> Path:
    """Where the data set is looked for and downloaded to: the folder named by its variable, else one of the user's."""
    return data_folder(known(name).name) or user_folder() / name


def by_hand(data: DataSet) -> str:
    """How to get a data set, and where to put it, in one sentence."""
    inside = [*data.categories, *([SPLIT] if data.split else [])]
    return (
        f"run `pclib data fetch {data.name}`, or download {data.archive.file_name} from {data.home} and unpack it so "
        f"that {inside[0]}, {inside[-1]} and the rest lie in {folder(data.name)} (or in another folder that "
        f"{data.folder_variable} names)"
    )


def find(name: str, category: str, *, incomplete: bool = False) -> Path:
    """The folder of a category, for `open_category`, after a look at whether all its files are there.

    Raises ValueError for an unknown category, FileNotFoundError if nothing of it is there, and ValueError if some of
    its files are not, unless `incomplete` allows that.
    """
    data = known(name)
    if category not in data.categories:
        raise ValueError(f"{data.title} has no category {category!r}; it has {near(category, data.categories)}")
    seen = _look(data, category, checksum=False)
    if seen.state == "missing":
        raise FileNotFoundError(f"{seen.folder}: nothing of {data.title}'s {category} is there; {by_hand(data)}")
    if seen.lacking and not incomplete:
        raise ValueError(
            f"{seen.folder}: {len(seen.lacking)} of {seen.expected} files of {data.title}'s {category} are missing: "
            f"{some(seen.lacking)}; {by_hand(data)}"
        )
    return seen.folder


def status(name: str, *, checksums: bool = False) -> list[CategoryStatus]:
    """What of each category is here.

    A checksum is the SHA-256 over the sorted names and contents of those of the category's pictures and masks that are
    here. It serves to compare two copies: publishers give none for a category, so it cannot tell which of two is right.
    """
    data = known(name)
    return [_look(data, category, checksums) for category in data.categories]


def _look(data: DataSet, category: str, checksum: bool) -> CategoryStatus:
    root, expected = folder(data.name), data.categories[category].files
    here: list[Path] = []
    lacking: list[str] = []
    try:
        files = _from_split(root, category) if data.split else _numbered(root / category, data.categories[category])
        for name, path in files:
            if path is None:
                lacking.append(name)
            else:
                here.append(path)
    except (OSError, ValueError):  # no split file that could be used, so what belongs here is not known
        lacking = [SPLIT]
    if not lacking and len(here) < expected:
        lacking = [f"{SPLIT} (it names {len(here)} of {expected} files)"]
    whole = "complete" if not lacking else "incomplete"
    state = whole if here or _holds_something(root / category) else "missing"
    taken = _checksum(here, root) if checksum and here else None
    return CategoryStatus(category, root / category, state, len(here), expected, lacking, taken)


def _numbered(place: Path, counts: Counts) -> Iterator[tuple[str, Path | None]]:
    """Pictures 000, 001, ... of each folder and the masks of the defective ones: name without suffix, and file."""
    parts = [(f"train/{GOOD}", counts.train, ""), (f"test/{GOOD}", counts.good, "")]
    for defect, count in counts.defects.items():
        parts += [(f"test/{defect}", count, ""), (f"{MASKS}/{defect}", count, "_mask")]
    for part, count, ending in parts:
        inside = (place / part).iterdir() if (place / part).is_dir() else ()
        files = {path.stem: path for path in inside if path.suffix.lower() in SUFFIXES}
        for stem in (f"{i:03d}{ending}" for i in range(count)):
            yield f"{part}/{stem}", files.get(stem)


def _from_split(root: Path, category: str) -> Iterator[tuple[str, Path | None]]:
    """Pictures and masks that the split file names: name, and file."""
    for row in split_rows(root, category):
        for name in filter(None, (row["image"], row["mask"])):
            yield name, root / name if (root / name).is_file() else None


def _holds_something(place: Path) -> bool:
    return place.is_dir() and any(path.is_file() for path in place.rglob("*"))


def _checksum(files: list[Path], root: Path) -> str:
    named = sorted((path.relative_to(root).as_posix(), path) for path in files)
    return hashlib.sha256("".join(f"{sha256(path)}  {name}\n" for name, path in named).encode()).hexdigest()


def _numbers(text: str) -> dict[str, int]:
    """Counts by name, from text such as "hole 10, liquid 10"."""
    pairs = (item.split() for item in text.split(", "))
    return {name: int(count) for name, count in pairs}


MVTEC_AD = DataSet(
    name="mvtec",
    title="MVTec AD",
    licence="CC BY-NC-SA 4.0",
    licence_url="https://creativecommons.org/licenses/by-nc-sa/4.0/",
    terms="no commercial use, name the authors, share adaptations under the same licence",
    home="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    citation="P. Bergmann, M. Fauser, D. Sattlegger, C. Steger: MVTec AD - A Comprehensive Real-World Dataset for "
    "Unsupervised Anomaly Detection. CVPR 2019",
    archive=Archive(
        url="https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f282/download/420938113-1629952094/"
        "mvtec_anomaly_detection.tar.xz",
        sha256="cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
        bytes=5_264_982_680,
        file_name="mvtec_anomaly_detection.tar.xz",
    ),
    categories={
        "bottle": Counts(209, 20, _numbers("broken_large 20, broken_small 22, contamination 21")),
        "cable": Counts(
            224,
            58,
            _numbers(
                "bent_wire 13, cable_swap 12, combined 11, cut_inner_insulation 14, cut_outer_insulation 10, "
                "missing_cable 12, missing_wire 10, poke_insulation 10"
            ),
        ),
        "capsule": Counts(219, 23, _numbers("crack 23, faulty_imprint 22, poke 21, scratch 23, squeeze 20")),
        "carpet": Counts(280, 28, _numbers("color 19, cut 17, hole 17, metal_contamination 17, thread 19")),
        "grid": Counts(264, 21, _numbers("bent 12, broken 12, glue 11, metal_contamination 11, thread 11")),
        "hazelnut": Counts(391, 40, _numbers("crack 18, cut 17, hole 18, print 17")),
        "leather": Counts(245, 32, _numbers("color 19, cut 19, fold 17, glue 19, poke 18")),
        "metal_nut": Counts(220, 22, _numbers("bent 25, color 22, flip 23, scratch 23")),
        "pill": Counts(
            267,
            26,
            _numbers(
                "color 25, combined 17, contamination 21, crack 26, faulty_imprint 19, pill_type 9, scratch 24",
            ),
        ),
        "screw": Counts(
            320,
            41,
            _numbers("manipulated_front 24, scratch_head 24, scratch_neck 25, thread_side 23, thread_top 23"),
        ),
        "tile": Counts(230, 33, _numbers("crack 17, glue_strip 18, gray_stroke 16, oil 18, rough 15")),
        "toothbrush": Counts(60, 12, _numbers("defective 30")),
        "transistor": Counts(213, 60, _numbers("bent_lead 10, cut_lead 10, damaged_case 10, misplaced 10")),
        "wood": Counts(247, 19, _numbers("color 8, combined 11, hole 10, liquid 10, scratch 21")),
        "zipper": Counts(
            240,
            32,
            _numbers(
                "broken_teeth 19, combined 16, fabric_border 17, fabric_interior 16, rough 17, split_teeth 18, "
                "squeezed_teeth 16"
            ),
        ),
    },
    folder_variable=DATA_VARIABLES["mvtec"],
)

VISA = DataSet(
    name="visa",
    title="VisA",
    licence="CC BY 4.0",
    licence_url="https://creativecommons.org/licenses/by/4.0/",
    terms="name the authors, say what you changed",
    home="https://github.com/amazon-science/spot-diff",
    citation="Y. Zou, J. Jeong, L. Pemula, D. Zhang, O. Dabeer: SPot-the-Difference Self-Supervised Pre-training for "
    "Anomaly Detection and Segmentation. ECCV 2022",
    archive=Archive(
        url="https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
        sha256="2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
        bytes=1_929_840_640,
        file_name="VisA_20220922.tar",
    ),
    categories={
        "candle": Counts(900, 100, {"anomaly": 100}),
        "capsules": Counts(542, 60, {"anomaly": 100}),
        "cashew": Counts(450, 50, {"anomaly": 100}),
        "chewinggum": Counts(453, 50, {"anomaly": 100}),
        "fryum": Counts(450, 50, {"anomaly": 100}),
        "macaroni1": Counts(900, 100, {"anomaly": 100}),
        "macaroni2": Counts(900, 100, {"anomaly": 100}),
        "pcb1": Counts(904, 100, {"anomaly": 100}),
        "pcb2": Counts(901, 100, {"anomaly": 100}),
        "pcb3": Counts(905, 101, {"anomaly": 100}),
        "pcb4": Counts(904, 101, {"anomaly": 100}),
        "pipe_fryum": Counts(450, 50, {"anomaly": 100}),
    },
    folder_variable=DATA_VARIABLES["visa"],
    split=SPLIT,
)

DATA_SETS = {data.name: data for data in (MVTEC_AD, VISA)}
