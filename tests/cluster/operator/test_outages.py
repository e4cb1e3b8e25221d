"""Outages of S3 or MongoDB at every stage of a run: runs wait, report it, continue afterwards, and pay once.

Before each outage, one resource is in each stage: prepare, the gate, the paid POST, the provider, collect.
"""

import json
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from contentgen_cluster import release
from contentgen_contract.names import Kind
from contentgen_e2e import media
from contentgen_e2e.oracle import check_completed
from contentgen_e2e.settings import ASSEMBLYAI_CANARY, FAL_CANARY, ROOT
from contentgen_e2e.world import BUCKET, Body, ClusterWorld, TookTooLong, installed

Spec = dict[str, Any]
HOST = release.SANDBOX
SECONDS = 15  # minimum duration of an outage
DECODING = ("DetectingScenes", "ExtractingFrames")
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


class Five:
    """A resource in each stage, kept there until the outage.

    Providers finish only on request, and the exhausted quota of the namespace prevents the start of pods. The response
    to the paid POST is delayed.
    """

    def __init__(self, world: ClusterWorld, tag: str) -> None:
        self.world, self.tag = world, tag
        self.names = {stage: f"{tag}-{stage}" for stage in ("prepare", "gate", "paying", "provider", "collect")}
        self.seeds = {stage: zlib.crc32(f"{world.namespace}{name}".encode()) >> 1 for stage, name in self.names.items()}

    def picture(self, stage: str, model: str, **more: Any) -> None:
        image = {"size": {"width": 256, "height": 256}, "seed": self.seeds[stage]}
        self.world.apply("ImageGeneration", self.names[stage], {"model": model, "prompt": stage, "image": image} | more)

    def bring(self, film: str, sound: str) -> None:
        """Bring all five resources to their stages."""
        self.world.kubectl("delete", "quota", "full", "--ignore-not-found")  # remains of an earlier, failed test
        slow = {"provider": "fal", "model": "fal-ai/flux/schnell", "fault": "stuck"}
        transcript = {"provider": "assemblyai", "fault": "stuck"}
        reply = {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "slow_accept", "delay_s": 16}
        self.world.sandbox.put("/sandbox/faults", json=[slow, transcript, reply]).raise_for_status()
        self.picture("gate", "flux-lora", loras=[{"loraRef": {"name": self.names["prepare"]}}])
        self.picture("provider", "flux-schnell")
        self.world.apply("Transcription", self.names["collect"], {"source": {"url": sound}})
        self.wait("collect", "Processing")
        self.wait("provider", "Processing")
        self.world.apply("LoraTraining", self.names["prepare"], self._lora(film))
        self.world.wait(
            self.kind("prepare"),
            self.names["prepare"],
            lambda status: status.get("stage") in ("Downloading", *DECODING),
        )
        # The payment precedes the quota: with the quota, outputs could not be collected and nothing is paid.
        self.picture("paying", "flux-dev")
        deadline = time.monotonic() + 60
        while self.billed("paying") == 0 and time.monotonic() < deadline:
            time.sleep(0.1)
        self.world.kubectl("create", "quota", "full", "--hard=pods=0")
        self.release("collect")
        self.wait("collect", "Collecting")

    def release(self, stage: str) -> None:
        """Let the provider finish the request of a stage."""
        request = self.world.get(self.kind(stage), self.names[stage])["status"]["run"]["requestId"]
        self.world.sandbox.delete(f"/sandbox/jobs/{request}/faults").raise_for_status()

    def admit_pods(self) -> None:
        self.world.kubectl("delete", "quota", "full")

    def _lora(self, film: str) -> Spec:
        name = self.names["prepare"]
        return {"loraName": name, "triggerWord": "jf", "source": {"url": film}, "dataset": {"minImages": 4}}

    def wait(self, stage: str, *phases: str) -> Body:
        return self.world.wait(self.kind(stage), self.names[stage], lambda status: status.get("phase") in phases)

    def kind(self, stage: str) -> Kind:
        return {"prepare": Kind.LORA_TRAINING, "collect": Kind.TRANSCRIPTION}.get(stage, Kind.IMAGE_GENERATION)

    def billed(self, stage: str) -> int:
        return sum(1 for each in self.world.billed() if each["marker"] == f"seed:{self.seeds[stage]}")

    def look(self) -> dict[str, Body]:
        """Statuses by stage."""
        by_name = {each["metadata"]["name"]: each.get("status") or {} for each in self.world.resources()}
        return {stage: by_name[name] for stage, name in self.names.items()}

    def watch(self, until: Callable[[dict[str, str]], bool], seconds: float) -> dict[str, str]:
        """Messages of statuses with reason StoreUnavailable, by stage, once `until` is true. Raises TookTooLong."""
        said: dict[str, str] = {}
        deadline = time.monotonic() + seconds
        while not until(said):
            if time.monotonic() > deadline:
                raise TookTooLong(f"only {said} said so: {json.dumps(self.look(), indent=1)}")
            for stage, status in self.look().items():
                if status.get("reason") == "StoreUnavailable":
                    said[stage] = status["message"]
                assert status.get("phase") != "Failed", status
            time.sleep(0.5)
        return said

    def finish(self) -> None:
        """Check that all are Completed, valid and paid once."""
        self.release("provider")
        for stage, name in self.names.items():
            body = self.world.wait_for_end(self.kind(stage), name, 240)
            assert body["status"]["phase"] == "Completed", f"{stage}: {body['status']['reason']}"
        for stage, name in self.names.items():
            body = check_completed(self.world, self.kind(stage), name)
            assert body["status"]["run"]["paidAttempt"] == 1
            if self.kind(stage) is Kind.IMAGE_GENERATION:
                assert self.billed(stage) == 1


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
    five = Five(light, outage)
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
