"""Fixtures that several groups of the operator's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from contentgen_operator.providers.keyfile import KeyFile
from contentgen_simulation.world import World, Writes


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """The operator with in-memory stores, API server and provider; no writes fail."""
    return World(monkeypatch, Writes())


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Retries do not sleep."""
    with stamina.set_testing(True, attempts=8):
        yield


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    """A provider's mounted API key."""
    (tmp_path / "key").write_text("k3y\n")
    return KeyFile(str(tmp_path / "key"))
