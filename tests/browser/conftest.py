"""One JupyterLab and one browser for all tests of the package, and the same small material here and in the kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

import pytest
from in_browser import Lab, browsing, lacking

from pclib.extraction import silent
from pclib.patchcore import PatchCore
from pclib.samples import Category
from pclib.widgets import Material, gather

from ..conftest import SMALL


def give_up(reason: str) -> NoReturn:
    """Skip what needs a browser, unless PCLIB_REQUIRE asks for it."""
    if "browser" in os.environ.get("PCLIB_REQUIRE", "").split(","):
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(scope="package")
def context() -> Iterator:
    if reason := lacking():
        give_up(reason)
    from playwright.sync_api import expect

    expect.set_options(timeout=15_000)
    with browsing() as context:
        yield context


@pytest.fixture(scope="package")
def lab(context, tmp_path_factory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab") / "notebooks"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:  # for this process too
        patch.setenv("PCLIB_STORE", str(folder.parent / "store"))
        patch.setenv("PCLIB_PROFILE", "demo")
        with Lab(folder, context).running() as lab:
            yield lab


@pytest.fixture(scope="package")
def material(washers: Category) -> Material:
    return gather(washers, detector=PatchCore(**SMALL), progress=silent)
