"""Fixtures: Chromium and a gateway with sample data."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from contentgen_gateway.auth import csrf
from contentgen_sandbox.testing import free_port
from contentgen_simulation.gateway import browser
from contentgen_simulation.showcase import serve


@pytest.fixture(scope="session")
def kept() -> Path:
    """Folder of the screenshots, kept for review."""
    browser.SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return browser.SCREENSHOTS


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Launched Chromium."""
    with browser.chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def gateway() -> Iterator[str]:
    """Base URL of the gateway."""
    yield from serve(free_port())


@pytest.fixture(scope="session")
def seen_as(chromium: Browser, gateway: str) -> Iterator[Callable[[Literal["light", "dark"], int], Page]]:
    """Ann's browser page for a colour scheme and a width, shared by all tests with these.

    A new Chromium renderer process takes as long to start as a page takes to load.
    """
    contexts: list[BrowserContext] = []

    @cache
    def made(scheme: Literal["light", "dark"], width: int) -> Page:
        context = chromium.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 860}, reduced_motion="reduce"
        )
        contexts.append(context)
        context.add_cookies([{"name": csrf.SESSION, "value": "ann", "url": gateway}])
        return context.new_page()

    yield made
    for context in contexts:
        context.close()
