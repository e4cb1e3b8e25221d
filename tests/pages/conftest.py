"""Chromium before the made-up gateway. Debian's own is used, and installed where there is none and we may."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from contentgen_simulation.showcase import serve


@pytest.fixture(scope="session")
def kept() -> Path:
    """Where screenshots stay, to be looked at."""
    folder = Path(__file__).resolve().parents[2] / "build/pages"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser. Root needs it without its own sandbox; it visits nothing but this machine."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=_chromium(), args=arguments)
        yield browser
        browser.close()


def _chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        assert os.geteuid() == 0, "Chromium is missing: install the package chromium"
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        subprocess.run(install, check=True, env=quiet, stdout=subprocess.DEVNULL)
        found = shutil.which("chromium")
    assert found
    return found


@pytest.fixture(scope="session")
def gateway() -> Iterator[str]:
    """Its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    yield from serve(port)
