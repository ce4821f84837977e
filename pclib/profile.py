"""Where data and weights come from, decided once: the only reader of the environment.

PCLIB_DATA      folder of MVTec AD: one folder per category
PCLIB_VISA      folder of VisA: one folder per category, and split_csv
PCLIB_WEIGHTS   a weight file, or a folder of them, looked at before torchvision's own cache
PCLIB_PROFILE   "demo" or "paper"; unset, it is "paper" where PCLIB_DATA is set, else "demo"
PCLIB_MIRRORS   addresses of folders with the data sets' archives, separated by spaces, tried before the official ones
PCLIB_STORE     folder to keep measured results in; unset, it is in the user's own data folder
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pclib._checks import one_of

DATA_VARIABLES = {"mvtec": "PCLIB_DATA", "visa": "PCLIB_VISA"}


@dataclass(frozen=True)
class Profile:
    """What notebooks run on: a name, a backbone, and the category shown first ("toybox/<name>" or a folder)."""

    name: str
    backbone: str
    data: Path | None = None

    def category(self, name: str) -> str:
        """Where to open the category `name`: embedded in the demo profile, a folder of $PCLIB_DATA in the other."""
        return f"toybox/{name}" if self.data is None else str(self.data / name)


def profile() -> Profile:
    """The profile in force.

    Raises ValueError when PCLIB_PROFILE is neither "demo" nor "paper", and FileNotFoundError when the paper profile is
    asked for and PCLIB_DATA names no folder.
    """
    data = data_folder()
    name = os.environ.get("PCLIB_PROFILE") or ("paper" if data else "demo")
    one_of("PCLIB_PROFILE", name, ("demo", "paper"))
    if name == "demo":
        return Profile("demo", backbone="tf_efficientnet_lite0")
    if data is None or not data.is_dir():
        named = "is unset" if data is None else f"names no folder: {data}"
        raise FileNotFoundError(
            f"PCLIB_DATA {named}; set it to the folder that holds MVTec AD's category folders, "
            "or set PCLIB_PROFILE=demo for the embedded data"
        )
    return Profile("paper", backbone="wide_resnet50_2", data=data)


def data_folder(name: str = "mvtec") -> Path | None:
    """The folder that a data set's variable names, whether it is there or not; None if the variable is unset."""
    one_of("data set", name, DATA_VARIABLES)
    named = os.environ.get(DATA_VARIABLES[name])
    return Path(named) if named else None


def user_folder() -> Path:
    """Where this user's programs keep their data, for what belongs to pclib; it need not be there."""
    from platformdirs import user_data_path

    return user_data_path("pclib")


def store_folder() -> Path:
    """Where measured results are kept: $PCLIB_STORE, else a folder of the user's; it need not be there."""
    named = os.environ.get("PCLIB_STORE")
    return Path(named) if named else user_folder() / "results"


def mirrors() -> list[str]:
    """Addresses of folders named by PCLIB_MIRRORS, to look for archives in first (none if it is unset)."""
    return os.environ.get("PCLIB_MIRRORS", "").split()


def weight_places() -> list[Path]:
    """Files and folders named by PCLIB_WEIGHTS, to look for weights in (none if it is unset)."""
    named = os.environ.get("PCLIB_WEIGHTS")
    return [Path(place) for place in named.split(os.pathsep)] if named else []
