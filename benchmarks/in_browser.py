"""JupyterLab in a headless browser: notebooks that are opened, run and touched as people do it.

A server and a browser of their own, that no setting of the user plays a part in, and that reach nothing but this
machine. What waits gives up after `PATIENCE` seconds.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

PATIENCE = 90.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SETTINGS = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def chromium() -> str | None:
    """Chromium's program: the one named in PCLIB_CHROMIUM, or one that is found on the PATH."""
    named = os.environ.get("PCLIB_CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


def lacking() -> str:
    """What has to be installed before a browser can be driven; "" if nothing."""
    if find_spec("playwright") is None:
        return "playwright is not installed: pip install playwright"
    if chromium() is None:
        return "no Chromium: apt-get install chromium, or name its program in PCLIB_CHROMIUM"
    return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def browsing() -> Iterator[BrowserContext]:
    """A headless browser that reaches nothing but this machine.

    What it asked others for is in the context's `refused`, a list of addresses.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=root)
        context = browser.new_context(viewport={"width": 1400, "height": 2200})
        context.set_default_timeout(1000 * PATIENCE)
        refused: list[str] = []

        def refuse(route: Any) -> None:
            refused.append(route.request.url)
            route.abort()

        context.route(lambda url: urlsplit(url).hostname not in ("127.0.0.1", None), refuse)
        context.refused = refused  # type: ignore[attr-defined]
        yield context
        browser.close()


class Lab:
    """A JupyterLab that serves a folder, and a browser to look at it with."""

    def __init__(self, folder: Path, context: BrowserContext) -> None:
        self.folder, self.context = folder, context
        self.data = folder.parent / "data"
        self.token = secrets.token_hex(16)
        self.address = f"http://127.0.0.1:{free_port()}"

    @contextmanager
    def running(self) -> Iterator[Lab]:
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1"]
        command += [f"--ServerApp.port={urlsplit(self.address).port}", "--ServerApp.port_retries=0", "--allow-root"]
        command += ["--LabApp.extension_manager=readonly", f"--ServerApp.root_dir={self.folder}"]
        with open(self.folder.parent / "lab.log", "w") as log:
            server = subprocess.Popen(
                command, cwd=self.folder, env=self._environment(), stdout=log, stderr=log, start_new_session=True
            )
            try:
                self._wait_for(server)
                yield self
            finally:
                server.terminate()  # it ends its kernels first
                server.wait(30)

    def open(self, *sources: str, run: bool = True) -> Notebook:
        """A new notebook of these cells, run from top to bottom unless said otherwise."""
        name = f"{secrets.token_hex(4)}.ipynb"
        nbformat.write(new_notebook(cells=list(map(new_code_cell, sources)), metadata=KERNEL), self.folder / name)
        notebook = self.show(name)
        if run:
            notebook.run_all()
        return notebook

    def show(self, name: str) -> Notebook:
        """A notebook of the folder."""
        page = self.context.new_page()
        page.goto(f"{self.address}/lab/workspaces/{name[:-6]}/tree/{name}?token={self.token}&reset")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        return Notebook(self, name, page)

    def ask(self, method: str, path: str) -> Any:
        request = Request(self.address + path, method=method, headers={"Authorization": f"token {self.token}"})
        with urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")

    def _environment(self) -> dict[str, str]:
        names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
        names += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
        own = {name: str(self.folder.parent / name.split("_")[-2].lower()) for name in names[:3]}
        own |= {name: str(self.folder.parent / name.lower()) for name in names[3:]}
        for name, values in SETTINGS.items():
            file = Path(own["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        theirs = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
        return theirs | own | {"JUPYTER_TOKEN": self.token}

    def _wait_for(self, server: subprocess.Popen) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and server.poll() is None:
            try:
                self.ask("GET", "/api/status")
                return
            except (URLError, OSError):
                time.sleep(0.2)
        raise RuntimeError(f"JupyterLab did not start:\n{(self.folder.parent / 'lab.log').read_text()}")


class Notebook:
    """A notebook in a page."""

    def __init__(self, lab: Lab, name: str, page: Page) -> None:
        self.lab, self.name, self.page = lab, name, page

    def run_all(self) -> None:
        """Run all cells, as the menu does. Raises RuntimeError with what a cell raised."""
        self.wait_for_kernel()
        self.choose("Run", "Run All Cells")
        done = self._cells.last.locator(".jp-InputArea-prompt")
        failed = self.page.locator("[data-mime-type='application/vnd.jupyter.error']")
        until = time.monotonic() + PATIENCE
        while not any(digit in done.inner_text() for digit in "0123456789"):
            if failed.count() or time.monotonic() > until:
                raise RuntimeError(failed.first.inner_text() if failed.count() else "the cells do not come to an end")
            self.page.wait_for_timeout(50)

    def run(self, cell: int, patience: float = PATIENCE) -> None:
        """Run one cell, with the keys that run it and stay there."""
        prompt = self._cells.nth(cell).locator(".jp-InputArea-prompt")
        before = prompt.inner_text()
        prompt.click()
        self.page.keyboard.press("Control+Enter")
        until = time.monotonic() + patience
        while prompt.inner_text() in (before, "[*]:"):
            if time.monotonic() > until:
                raise RuntimeError(f"cell {cell} does not come to an end")
            self.page.wait_for_timeout(10)

    def output(self, cell: int) -> str:
        """What a cell printed."""
        return "".join(self._cells.nth(cell).locator(".jp-OutputArea-output").all_inner_texts())

    def wait_for_kernel(self) -> None:
        self.page.get_by_text("(ipykernel) | Idle").wait_for()

    def choose(self, menu: str, item: str) -> None:
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        self.page.get_by_role("menuitem", name=item).first.click()

    @property
    def explorer(self) -> Locator:
        return self.page.locator(".pclib-explorer").last

    @property
    def _cells(self) -> Locator:
        return self.page.locator(".jp-Notebook .jp-CodeCell")

    def close(self) -> None:
        """Close the page, and end its kernel."""
        self.page.close()
        for session in self.lab.ask("GET", "/api/sessions"):
            if session["path"] == self.name:
                self.lab.ask("DELETE", f"/api/sessions/{session['id']}")
