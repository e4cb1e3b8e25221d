"""Runs of `contentgen try` as child processes: with the sandbox, and with a sandbox in place of the real providers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contentgen_sandbox.testing import SandboxServer, sandbox_server
from contentgen_simulation.try_runs import Start, TryRun


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start the command; all are killed at the end."""
    started: list[TryRun] = []
    # A shell's background jobs ignore Ctrl-C, and so would their children: `make test &`.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def begin(*arguments: str | Path, providers: str = "") -> TryRun:
        output = tmp_path_factory.mktemp("output") / "output.txt"
        command = (sys.executable, "-m", "contentgen_try", *map(str, arguments))
        settings = {"CONTENTGEN_TRY_PROVIDERS_URL": providers} if providers else {}
        with output.open("wb") as file:
            process = subprocess.Popen(command, env=os.environ | settings, stdout=file, stderr=subprocess.STDOUT)
        started.append(TryRun(process, output))
        return started[-1]

    yield begin
    for each in started:
        each.kill()
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def samples(start: Start, tmp_path_factory: pytest.TempPathFactory) -> tuple[TryRun, Path]:
    """Run of the three samples that goes on serving, and its folder."""
    folder = tmp_path_factory.mktemp("try") / "results"
    run = start("--folder", folder, "--serve")
    run.until(lambda said: "Ctrl-C ends it." in said)
    return run, folder


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[SandboxServer]:
    """Sandbox in the place of the real providers: it lives longer than a run."""
    with sandbox_server(tmp_path / "provider") as server:
        yield server
