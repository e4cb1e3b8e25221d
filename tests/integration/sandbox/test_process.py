"""Process tree of `contentgen-sandbox all`: common start and termination."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pymongo
import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from contentgen_sandbox.testing import BUILT, PATIENCE_S, free_port

PACKAGES = Path(__file__).parents[3] / "sandbox"


@contextmanager
def everything(data: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, int]]]:
    ports = {"SANDBOX_PORT": free_port(), "SANDBOX_S3_PORT": free_port(), "SANDBOX_MONGO_PORT": free_port()}
    environment = os.environ | {name: str(port) for name, port in ports.items()}
    environment |= {
        "PYTHONPATH": str(PACKAGES),
        "SANDBOX_DATA": str(data),
        "SANDBOX_HOST": "127.0.0.1",
        "VERSITYGW": os.environ.get("VERSITYGW", str(BUILT / "versitygw")),
        "MONGO_JARS": os.environ.get("MONGO_JARS", str(BUILT / "mongo")),
        "ROOT_ACCESS_KEY": "root",
        "ROOT_SECRET_KEY": "root-secret",
    }
    process = subprocess.Popen([sys.executable, "-m", "contentgen_sandbox", "all"], env=environment)
    try:
        until_answered(f"http://127.0.0.1:{ports['SANDBOX_PORT']}/healthz")
        until_answered(f"http://127.0.0.1:{ports['SANDBOX_S3_PORT']}/healthz")
        with MongoClient[dict[str, int]]("127.0.0.1", ports["SANDBOX_MONGO_PORT"]) as client:
            client["test"]["rows"].insert_one({"n": 1})
        yield process, ports
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def until_answered(url: str) -> None:
    until_listens(httpx.URL(url).port or 80)
    assert httpx.get(url, timeout=PATIENCE_S).status_code == 200


def children(pid: int) -> dict[str, int]:
    """Child processes as name and pid."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        name = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0].decode().rsplit("/", 1)[-1]
        found[name] = int(child)
    return found


def test_a_termination_ends_all_of_it(tmp_path: Path) -> None:
    with everything(tmp_path) as (process, _):
        started = children(process.pid)
        assert len(started) == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert not any(Path(f"/proc/{child}").exists() for child in started.values())


@pytest.mark.parametrize("victim", ["java", "versitygw"])
def test_a_dead_store_ends_the_whole(tmp_path: Path, victim: str) -> None:
    with everything(tmp_path) as (process, _):
        os.kill(children(process.pid)[victim], signal.SIGKILL)
        assert process.wait(PATIENCE_S) == 1


def switch(ports: dict[str, int], store: str, state: str) -> None:
    url = f"http://127.0.0.1:{ports['SANDBOX_PORT']}/sandbox/stores/{store}"
    assert httpx.put(url, json={"state": state}, timeout=PATIENCE_S).status_code == 200


def test_stores_can_be_away_and_keep_what_they_hold(tmp_path: Path) -> None:
    with everything(tmp_path) as (process, ports), patient_mongo(ports) as client:
        s3 = f"http://127.0.0.1:{ports['SANDBOX_S3_PORT']}/healthz"
        looks = {"s3": lambda: httpx.get(s3, timeout=0.5), "mongo": client["test"]["rows"].find_one}
        for store, look in looks.items():
            for state in ("stopped", "hung"):
                switch(ports, store, state)
                with pytest.raises((httpx.TransportError, PyMongoError)), pymongo.timeout(0.5):
                    look()
                switch(ports, store, "running")
        until_answered(s3)
        until_listens(ports["SANDBOX_MONGO_PORT"])
        assert client["test"]["rows"].count_documents({"n": 1}) == 1
        switch(ports, "s3", "hung")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def until_listens(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            return socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(port)


def patient_mongo(ports: dict[str, int]) -> MongoClient[dict[str, int]]:
    return MongoClient("127.0.0.1", ports["SANDBOX_MONGO_PORT"], serverSelectionTimeoutMS=1000 * PATIENCE_S)
