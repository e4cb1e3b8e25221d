"""Chromium for tests: Debian's package, installed if missing and permitted."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from playwright.sync_api import Browser, Error, Page, Response, expect, sync_playwright

SCREENSHOTS = Path(__file__).resolve().parents[4] / "build/pages"
"""Folder of the screenshots, kept for review."""
_PATIENCE_MS = 60_000  # playwright's defaults of 5 and 30 s are too short beside other suites
_TRIES = 10
_GOTO = Page.goto


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Launched browser. Root needs `--no-sandbox`; the browser visits only this machine."""
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright, patch.object(Page, "goto", goto):
        unconfined = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=_path(), args=[*unconfined, *arguments])
        yield browser
        browser.close()


def goto(page: Page, url: str, **how: Any) -> Response | None:
    """`Page.goto` with retries after a network change: another suite's cluster creates network interfaces.

    Later waits of the page have the same patience.
    """
    page.set_default_timeout(_PATIENCE_MS)
    for _ in range(_TRIES - 1):
        try:
            return _GOTO(page, url, **how)
        except Error as error:
            if "ERR_NETWORK_CHANGED" not in error.message:
                raise
    return _GOTO(page, url, **how)


def _path() -> str:
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
