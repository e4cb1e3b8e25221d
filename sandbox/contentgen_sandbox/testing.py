"""Sandbox and stores as context managers for tests; they leave no processes behind.

`MONGODB_URI` and `S3_ENDPOINT` in the environment select external servers instead.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import uvicorn

from contentgen_sandbox.app import create_app
from contentgen_sandbox.settings import SandboxSettings, SandboxStoreSettings
from contentgen_sandbox.stores import SMALL_JVM, StoreProcess, mongo, s3, start, stop

PATIENCE_S = 120
"""Seconds within which a server has started, answers and ends, however busy the machine is."""
BUILT = Path(__file__).parents[2] / "build" / "sandbox"
"""Folder in which `make` stores versitygw and the jars."""


# Each call has a connection of its own: the server may close an idle one just when it is used again.
_http = httpx.Client(timeout=PATIENCE_S, limits=httpx.Limits(max_keepalive_connections=0), verify=False)  # noqa: S501 - this machine's servers, without TLS


@dataclass(frozen=True)
class SandboxServer:
    url: str

    @property
    def fal_queue_url(self) -> str:
        """Value for `fal_client.client.QUEUE_URL_FORMAT`."""
        return f"{self.url}/fal/"

    @property
    def fal_api_url(self) -> str:
        return f"{self.url}/fal-api"

    @property
    def assemblyai_url(self) -> str:
        """Value for `ASSEMBLYAI_BASE_URL`."""
        return f"{self.url}/assemblyai"

    def ledger(self) -> dict[str, Any]:
        report: dict[str, Any] = _http.get(f"{self.url}/sandbox/ledger").raise_for_status().json()
        return report

    def arm(self, *faults: dict[str, Any]) -> None:
        """Arm faults, such as `{"fault": "reply_lost", "provider": "fal"}`; faults.py lists them."""
        _http.put(f"{self.url}/sandbox/faults", json=list(faults)).raise_for_status()

    def reset(self) -> None:
        """Empty the ledger and clear all faults."""
        _http.delete(f"{self.url}/sandbox/ledger").raise_for_status()
        self.arm()

    def heal(self, request_id: str) -> None:
        """Clear the faults of one request."""
        _http.delete(f"{self.url}/sandbox/jobs/{request_id}/faults").raise_for_status()

    def put_media(self, name: str, content: bytes) -> str:
        """Upload a file; returns its URL."""
        _http.put(f"{self.url}/media/{name}", content=content).raise_for_status()
        return f"{self.url}/media/{name}"


@dataclass(frozen=True)
class S3Server:
    endpoint: str
    access_key: str
    secret_key: str


def free_port() -> int:
    """Port of loopback that is free now and that the kernel gives to nobody: below its range of ephemeral ports, from
    which other tests at the same time get theirs.
    """
    for _ in range(100):
        port = 12_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port in 100 tries")


@contextmanager
def sandbox_server(data: Path | None = None, **settings: Any) -> Iterator[SandboxServer]:
    """Providers in a thread. Work is instantaneous unless `training_seconds=…` or a similar setting is given."""
    quick: dict[str, Any] = {"training_seconds": 0, "image_seconds": 0, "transcript_seconds": 0, "host": "127.0.0.1"}
    with TemporaryDirectory() as folder:
        chosen = SandboxSettings(**(quick | {"data": data or Path(folder), "port": free_port()} | settings))
        config = uvicorn.Config(
            create_app(chosen), host=chosen.host, port=chosen.port, http="h11", ws="none", log_level="error",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            _wait(lambda: server.started or not thread.is_alive())
            yield SandboxServer(f"http://127.0.0.1:{chosen.port}")
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)


@contextmanager
def mongo_server(*, in_memory: bool = True, data: Path | None = None, jvm: Sequence[str] = SMALL_JVM) -> Iterator[str]:
    """URI of a MongoDB server; each test should use its own database."""
    if given := os.environ.get("MONGODB_URI"):
        yield given
        return
    with TemporaryDirectory() as folder:
        settings = _store_settings(data or Path(folder))
        with _running(mongo(settings, in_memory=in_memory, jvm=jvm), settings.mongo_port):
            yield f"mongodb://127.0.0.1:{settings.mongo_port}"


@contextmanager
def s3_server(data: Path) -> Iterator[S3Server]:
    """S3 server without buckets. `S3_ENDPOINT` requires `S3_ACCESS_KEY` and `S3_SECRET_KEY`."""
    if given := os.environ.get("S3_ENDPOINT"):
        yield S3Server(given, os.environ["S3_ACCESS_KEY"], os.environ["S3_SECRET_KEY"])
        return
    settings = _store_settings(data)
    endpoint = f"http://127.0.0.1:{settings.s3_port}"
    with _running(s3(settings), settings.s3_port):
        yield S3Server(endpoint, settings.root_access_key, settings.root_secret_key)


def _store_settings(data: Path) -> SandboxStoreSettings:
    return SandboxStoreSettings(
        data=data,
        host="127.0.0.1",
        s3_port=free_port(),
        mongo_port=free_port(),
        versitygw=Path(os.environ.get("VERSITYGW", BUILT / "versitygw")),
        mongo_jars=Path(os.environ.get("MONGO_JARS", BUILT / "mongo")),
        root_access_key="sandbox",
        root_secret_key=secrets.token_hex(16),
    )


@contextmanager
def _running(child: StoreProcess, port: int) -> Iterator[None]:
    process = start(child)
    try:
        _wait(lambda: process.poll() is not None or _listens(port))
        if process.returncode is not None:
            raise RuntimeError(f"{child.name} exited with {process.returncode} at its start")
        yield
    finally:
        stop(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ready after {PATIENCE_S} s")
        time.sleep(0.02)
