"""Servers for the tests: one in this process, and processes of their own."""

import copy
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path

import httpx
import pytest
import yaml

from contentgen_try.api_server.refusals import Body
from contentgen_try.api_server.schemas.resource_types import ResourceType, load_crds
from contentgen_try.api_server.server import ApiServer

ROOT = Path(__file__).resolve().parents[4]
CRDS = ROOT / "crds"
Start = Callable[..., "Process"]


class Process:
    """A running server: its kubeconfig, and a client with the administrator's token."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.unlink(missing_ok=True)
        self.errors = folder / "stderr"
        command = [sys.executable, "-m", "contentgen_try.api_server", "--crds", str(CRDS)]
        self.command = [*command, "--kubeconfig", str(self.kubeconfig), *options]
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stderr=errors)
        while not self.kubeconfig.exists():
            assert self.process.poll() is None, self.errors.read_text()
            time.sleep(0.02)
        config = yaml.safe_load(self.kubeconfig.read_text())
        self.url = config["clusters"][0]["cluster"]["server"]
        self.token = config["users"][0]["user"]["token"]

    def client(self) -> httpx.Client:
        """A client; without verification, which other tests do."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, verify=False, headers=headers, timeout=60)  # noqa: S501 - see above

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start of a process, which ends with the test."""
    processes: list[Process] = []

    def started(*options: str) -> Process:
        processes.append(Process(tmp_path, *options))
        return processes[-1]

    yield started
    for process in processes:
        process.process.kill()
        process.process.communicate()


@cache
def crds() -> tuple[list[Body], list[ResourceType]]:
    """CRDs of the repository; to read them takes longer than most tests."""
    return load_crds(CRDS)


@pytest.fixture(autouse=True)
def _crds_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(folder: Path) -> tuple[list[Body], list[ResourceType]]:
        if folder != CRDS:
            return load_crds(folder)
        bodies, types = crds()
        return copy.deepcopy(bodies), types

    monkeypatch.setattr("contentgen_try.api_server.server.load_crds", loaded)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A server without a state folder."""
    made = ApiServer(CRDS)
    yield made
    made.close()


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `server` with the administrator's token."""
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    transport = httpx.ASGITransport(server.app)
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost:6443", headers=headers) as client:
        yield client
