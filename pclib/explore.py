"""One explorer as a page of its own, without a notebook: served by Voilà to this machine alone, behind a token."""

from __future__ import annotations

import json
import os
import secrets
import socket
import tempfile
import webbrowser
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from pclib._checks import one_of

FEW = 8  # pictures whose features are looked at
UNUSED = 120  # seconds after which a page that was closed has its process ended
GATHERED = "gather({category!r}, progress=silent)"
EXPLORERS = {
    "coreset": f"CoresetExplorer({GATHERED})",
    "scores": f"ScoreExplorer({GATHERED})",
    "features": "FeatureExplorer(open_category({category!r}).test[::{step}])",
    "metrics": f"MetricExplorer({GATHERED}.scores())",
    "table": "TableExplorer()",
    "toybox": "ToyboxExplorer({name!r})",
}
SOURCE = """
import os

os.chdir({folder!r})
from pclib.datasets import open_category
from pclib.extraction import silent
from pclib.widgets import *

{explorer}
"""
# Voilà's pages name style sheets elsewhere; a browser that is told so asks nobody but the server that a page is from.
OWN = "'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
POLICY = f"default-src {OWN}; connect-src 'self' ws://127.0.0.1:* data: blob:; frame-ancestors 'none'; base-uri 'self'"


def source(explorer: str, category: str | None = None) -> str:
    """The code of a cell that shows an explorer of a category, by default the washers.

    Raises ValueError for an explorer or a category that there is not, and FileNotFoundError for a folder.
    """
    from pclib.datasets import open_category

    one_of("explorer", explorer, EXPLORERS)
    if explorer == "table" and category is not None:
        raise ValueError(f"the table explorer takes no category, got {category!r}")
    category = category or "toybox/washer"
    place, _, name = category.rpartition("/")
    if explorer == "toybox" and place != "toybox":
        raise ValueError(f"the toybox explorer shows toybox/<name>, got {category!r}")
    pictures = open_category(category).test
    if not pictures:
        raise ValueError(f"{category}: has no test pictures to explore")
    step = -(-len(pictures) // FEW)
    shown = EXPLORERS[explorer].format(category=category, name=name, step=step)
    return SOURCE.format(folder=os.getcwd(), explorer=shown)


def serve(explorer: str, category: str | None = None, *, say: Callable[[str], None], show: bool = False) -> None:
    """Serve an explorer on a free port of 127.0.0.1 until Ctrl-C; say its address, and open it in a browser if `show`.

    Each page that is opened computes in a process of its own. In the end nothing of it is left behind. Before anything
    is started, raises as `source` does, and ValueError if what it takes is not installed.
    """
    code = source(explorer, category)
    if lacking := [package for package in ("voila", "anywidget", "ipywidgets") if find_spec(package) is None]:
        raise ValueError(f"an explorer as a page needs {' and '.join(lacking)}: pip install {' '.join(lacking)}")
    from tornado.ioloop import IOLoop
    from traitlets.config import Config
    from voila.app import Voila

    token = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="pclib-explore-") as folder:
        notebook = Path(folder) / "page" / "explorer.ipynb"
        notebook.parent.mkdir()
        notebook.write_text(json.dumps(_notebook(code, explorer)), encoding="utf-8")
        server = Voila(
            config=Config(
                VoilaConfiguration={"file_denylist": [".*"], "show_tracebacks": True},
                MappingKernelManager={"cull_idle_timeout": UNUSED, "cull_interval": 30},
            ),
            config_file_paths=[],  # the user's may say otherwise
            notebook_path=str(notebook),
            ip="127.0.0.1",
            port=_free_port(),
            token=token,
            open_browser=False,
            connection_dir_root=folder,
            log_level="ERROR",
            tornado_settings={
                "headers": {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"},
                "allow_remote_access": False,  # refuses requests to other names that lead here
            },
        )
        server.initialize([])

        def started() -> None:
            address = f"http://127.0.0.1:{server.port}/?token={token}"
            say(address)
            if show:
                webbrowser.open(address)

        IOLoop.current().add_callback(started)
        server.start()


def _notebook(code: str, title: str) -> dict:
    cell = {"cell_type": "code", "id": "explorer", "source": code}
    empty: dict = {"metadata": {}, "outputs": [], "execution_count": None}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {
        "cells": [cell | empty],
        "metadata": {"kernelspec": kernel, "title": f"pclib: {title}"},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
