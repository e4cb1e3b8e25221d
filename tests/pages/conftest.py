"""Chromium before the made-up gateway."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from contentgen_simulation import browser
from contentgen_simulation.showcase import serve


@pytest.fixture(scope="session")
def kept() -> Path:
    """Where screenshots stay, to be looked at."""
    browser.SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return browser.SCREENSHOTS


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser."""
    with browser.chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def gateway() -> Iterator[str]:
    """Its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    yield from serve(port)
