"""Five resources, one in each stage of a run, which stay there until the test continues them."""

import json
import time
import zlib
from collections.abc import Callable
from typing import Any

from contentgen_contract.names import Kind
from contentgen_e2e.oracle import check_completed
from contentgen_e2e.world import Body, ClusterWorld, TookTooLong

Spec = dict[str, Any]
DECODING = ("DetectingScenes", "ExtractingFrames")


class FiveStages:
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
        by_name = {resource["metadata"]["name"]: resource.get("status") or {} for resource in self.world.resources()}
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
