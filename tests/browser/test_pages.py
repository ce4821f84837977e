"""`pclib explore`: an explorer as a page, for who has the token, asking nobody else and leaving nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest

from .seen import Seen, expect

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def served(context, tmp_path_factory):
    """The command's process, the address that it printed, and the folder for its temporary files."""
    folder = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-m", "pclib.cli", "explore", "coreset", "toybox/gravel"]
    environment = os.environ | {"TMPDIR": str(folder)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    try:
        first = process.stdout.readline()
        yield process, re.search(r"http://127\.0\.0\.1:\d+/\?token=\S{20,}", first)[0], folder
    finally:
        process.kill()


def refused(address: str, **headers: str) -> str:
    """Where a request is sent instead, or the status with which it is refused."""
    try:
        with urlopen(Request(address, headers=headers), timeout=10) as answer:
            assert "explorer" not in answer.read().decode()
            return answer.url
    except HTTPError as error:
        return str(error.code)


def test_nobody_gets_in_without_the_token(served):
    process, address, _ = served
    page, token = address.split("?token=")
    assert refused(page).startswith(f"{page}login")
    assert refused(f"{page}?token={token[:-1]}").startswith(f"{page}login")
    assert refused(f"{page}api/kernels/01234567-89ab-cdef-0123-456789abcdef") == "403"
    assert refused(f"{page}voila/files/explorer.ipynb") == "403"
    assert refused(address, Host="elsewhere.example") == "403"  # a name of somebody else's that leads here
    assert psutil.Process(process.pid).children() == []  # no kernel was started for any of them
    assert {c.laddr.ip for c in psutil.Process(process.pid).net_connections() if c.status == "LISTEN"} == {"127.0.0.1"}


def test_it_answers_and_asks_nobody_else(served, context):
    _, address, _ = served
    already = len(context.refused)
    page = context.new_page()
    page.goto(address)
    seen = Seen(page)
    size = seen.root.get_by_role("slider", name="Patches kept")
    size.wait_for()
    before = size.get_attribute("aria-valuetext")
    size.focus()
    page.keyboard.press("ArrowRight")
    expect(size).not_to_have_attribute("aria-valuetext", before)
    count = size.get_attribute("aria-valuetext").split()[0]
    expect(seen.status).to_contain_text(f"greedy keeps {count} of 23,520 patches")
    assert page.get_by_text("CoresetExplorer(").count() == 0  # its code is not shown
    assert context.refused[already:] == []
    page.close()


def test_ctrl_c_leaves_nothing_behind(served):
    process, _, folder = served
    kernels = psutil.Process(process.pid).children(recursive=True)
    assert kernels and list(folder.glob("pclib-explore-*"))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert psutil.wait_procs(kernels, timeout=10)[1] == []
    assert [path.name for path in folder.iterdir() if "torch" not in path.name] == []  # PyTorch keeps a cache
