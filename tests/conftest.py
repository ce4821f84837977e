"""What several test files share: where recorded data lies, small categories, one fitted detector."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("TQDM_DISABLE", "1")
for name in ("PCLIB_DATA", "PCLIB_VISA", "PCLIB_WEIGHTS", "PCLIB_PROFILE", "PCLIB_MIRRORS", "PCLIB_STORE"):
    os.environ.pop(name, None)
warnings.filterwarnings("ignore", message=".*does not have many workers.*")

from pclib.patchcore import PatchCore  # noqa: E402
from pclib.samples import Category  # noqa: E402
from pclib.toybox import Toybox  # noqa: E402

# No deadline: machines are noisy. In continuous integration the same examples every time; elsewhere new ones.
settings.register_profile("pclib", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("pclib")

ROOT = Path(__file__).parents[1]
SMALL = {"resize": 128, "crop": 112}  # a grid of 14 x 14 patches: a quarter of the work


def _recorded(name: str) -> Path:
    """The folder of recorded data `name`; skips the test where there is none, unless PCLIB_REQUIRE asks for it."""
    variable = f"PCLIB_{name.upper()}"
    folder = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    if folder.is_dir():
        return folder
    reason = f"no recorded data: {folder} is not there; name its folder in {variable}"
    if name in os.environ.get("PCLIB_REQUIRE", "").split(","):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def golden() -> Path:
    return _recorded("golden")


@pytest.fixture(scope="session")
def real() -> Path:
    return _recorded("real")


@pytest.fixture(scope="session")
def washers() -> Category:
    return Toybox("washer", train=16, good=6, defective=8, size=128)


@pytest.fixture(scope="session")
def fitted(washers: Category) -> PatchCore:
    return PatchCore(**SMALL, coreset=0.1).fit(washers.train)
