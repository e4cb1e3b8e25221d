"""Outages of S3 or MongoDB at every stage of a run: runs wait, report it, continue afterwards, and pay once.

Before each outage, one resource is in each stage: prepare, the gate, the paid POST, the provider, collect.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from contentgen_cluster import release
from contentgen_e2e import media
from contentgen_e2e.five_stages import FiveStages
from contentgen_e2e.settings import ASSEMBLYAI_CANARY, FAL_CANARY, ROOT
from contentgen_e2e.world import BUCKET, ClusterWorld, installed

HOST = release.SANDBOX
SECONDS = 15  # minimum duration of an outage
LIGHT = ("worker.resources.requests.cpu=20m", "worker.resources.requests.memory=64Mi")


@pytest.fixture(scope="module")
def light() -> Iterator[ClusterWorld]:
    """Release whose workers have small requests, so that they run at the same time."""
    with installed(ROOT, "outages", *LIGHT) as opened:
        yield opened
        opened.sandbox.delete("/sandbox/faults").raise_for_status()


@pytest.fixture(scope="module")
def long_film(light: ClusterWorld, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a video whose download takes longer than the other resources need to reach their stages."""
    content = media.film(tmp_path_factory.mktemp("media"), media.scenes(48, 2, (640, 360)), sound=False, streams=True)
    light.sandbox.put("/media/outage.mp4", content=content).raise_for_status()
    return f"{HOST}/media/outage.mp4?seconds=30"


@pytest.fixture(scope="module")
def sound(light: ClusterWorld, tmp_path_factory: pytest.TempPathFactory) -> str:
    content = media.recording(tmp_path_factory.mktemp("media"), 3)
    light.sandbox.put("/media/outage.wav", content=content).raise_for_status()
    return f"{HOST}/media/outage.wav"


def switch(world: ClusterWorld, store: str, state: str) -> None:
    world.sandbox.put(f"/sandbox/stores/{store}", json={"state": state}).raise_for_status()


@contextmanager
def store_away(world: ClusterWorld, store: str, state: str) -> Iterator[None]:
    """Stop S3 or MongoDB, or let it accept connections without answering."""
    switch(world, store, state)
    try:
        yield
    finally:
        switch(world, store, "running")


@contextmanager
def bucket_away(world: ClusterWorld) -> Iterator[None]:
    """Rename the bucket within the context, objects included (a bucket of the embedded S3 is a folder)."""
    move = "import os, sys; os.rename(*(f'/data/s3/objects/{each}' for each in sys.argv[1:]))"
    where = ("--namespace", release.NAMESPACE, "exec", "deployment/contentgen-sandbox", "--", "python3", "-c", move)
    release.kubectl(ROOT, *where, BUCKET, "away")
    try:
        yield
    finally:
        release.kubectl(ROOT, *where, "away", BUCKET)


AWAY: dict[str, tuple[Callable[[ClusterWorld], Any], str, set[str]]] = {
    # stages that must report the outage: those that needed the store meanwhile
    "s3-stopped": (lambda world: store_away(world, "s3", "stopped"), "S3 is not available", {"paying"}),
    "s3-hung": (lambda world: store_away(world, "s3", "hung"), "S3 is not available", {"paying"}),
    "bucket": (bucket_away, f"bucket '{BUCKET}' does not exist: create it", {"paying"}),
    "mongodb-stopped": (lambda world: store_away(world, "mongo", "stopped"), "MongoDB is not available", {"provider"}),
    "mongodb-hung": (lambda world: store_away(world, "mongo", "hung"), "MongoDB is not available", {"provider"}),
}


@pytest.mark.parametrize("outage", list(AWAY))
def test_a_store_that_is_away_is_waited_for_at_every_stage(
    light: ClusterWorld, long_film: str, sound: str, outage: str
) -> None:
    away, text, needed = AWAY[outage]
    five = FiveStages(light, outage)
    five.bring(long_film, sound)
    before = five.look()
    assert before["prepare"]["phase"] == "Preparing"
    assert before["gate"]["reason"] == "WaitingForLora"
    assert five.billed("paying") == 1
    assert before["provider"]["phase"] == "Processing"
    assert before["collect"]["phase"] == "Collecting"
    with away(light):
        five.admit_pods()
        started = time.monotonic()
        said = five.watch(lambda said: needed <= said.keys() and time.monotonic() - started > SECONDS, 90)
    assert all(text in message for message in said.values()), said
    five.finish()


def test_no_secret_and_no_traceback_was_logged(light: ClusterWorld) -> None:
    log = light.operator_log()
    assert "Traceback" not in log
    for secret in (FAL_CANARY, ASSEMBLYAI_CANARY, "contentgen-sandbox-secret", "X-Amz-Signature"):
        assert secret not in log
