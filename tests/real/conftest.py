"""Tests are collected only with consent: `make test-real` asks for it, a bare `pytest` cannot."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contentgen_operator.providers.fal import Fal
from contentgen_real.consent import CHECKS, CONFIRM, SWITCH
from contentgen_real.providers import BuildPlace

_AGREED = os.environ.get(SWITCH) == "true" and os.environ.get(CONFIRM) == "yes"
collect_ignore_glob = [] if _AGREED else ["test_*.py"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test whose key is missing was announced as left out."""
    out = {f"test_{check.name}" for check in CHECKS if check.missing(os.environ)}
    left_out = [item for item in items if item.name in out]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def place() -> BuildPlace:
    return BuildPlace.of(os.environ)


@pytest.fixture
async def fal(place: BuildPlace, tmp_path: Path) -> AsyncIterator[Fal]:
    made = place.fal(tmp_path)
    yield made
    await made.close()
