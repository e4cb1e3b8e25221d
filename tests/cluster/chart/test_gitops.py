"""Flux, Helm 4, kubectl wait and Argo CD agree about a resource: in every state, and in every version of it that a
watch delivers during real runs.
"""

import json
import subprocess
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_contract.resources.status import ResourceStatus, dump_status
from contentgen_e2e import resource_health
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import ClusterWorld
from contentgen_operator.plans.conditions import ConditionInput, conditions

ARGOCD = ROOT / "charts/contentgen/gitops/argocd"
KSTATUS = ROOT / ".cluster/bin/kstatus"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
Body = dict[str, Any]


def resource(kind: Kind, status: Body, generation: int = 1, **spec: Any) -> Body:
    meta = {"name": "it", "namespace": "ns", "generation": generation, "uid": "u1"}
    return {
        "apiVersion": "contentgen.dev/v1alpha1", "kind": kind.value, "metadata": meta, "spec": spec, "status": status,
    }  # fmt: skip


def in_phase(kind: Kind, phase: Phase) -> Body:
    state = ConditionInput(
        kind=kind, phase=phase, reason=Reason.PROCESSING, message="m", prepared=True, submitted=True, generation=1
    )
    told = conditions(state, ResourceStatus(), NOW)
    return dump_status(ResourceStatus(observed_generation=1, phase=phase, message="m", conditions=told))


EXPECTED = {
    Phase.COMPLETED: "Healthy",
    Phase.FAILED: "Degraded",
    Phase.SUBMISSION_UNKNOWN: "Degraded",
    Phase.SUSPENDED: "Suspended",
}


@pytest.mark.parametrize("kind", Kind)
def test_every_phase_means_the_same_to_all(kind: Kind) -> None:
    bodies = [resource(kind, in_phase(kind, phase)) for phase in Phase]
    for phase, body, word in zip(Phase, bodies, resource_health.kstatus(KSTATUS, bodies), strict=True):
        health = resource_health.health(ARGOCD, body)
        assert health == EXPECTED.get(phase, "Progressing"), phase
        assert resource_health.KSTATUS_OF[health] == word, phase


def test_unobserved_resource_is_in_progress() -> None:
    unseen = resource(Kind.TRANSCRIPTION, {"observedGeneration": -1})
    edited = resource(Kind.TRANSCRIPTION, in_phase(Kind.TRANSCRIPTION, Phase.COMPLETED), generation=2)
    assert resource_health.kstatus(KSTATUS, [unseen, edited]) == ["InProgress", "InProgress"]
    assert [resource_health.health(ARGOCD, each) for each in (unseen, edited)] == ["Progressing", "Progressing"]


@pytest.mark.parametrize(
    ("phase", "suspend", "disabled"),
    [
        (Phase.COMPLETED, False, {"suspend", "resume"}),
        (Phase.FAILED, False, {"suspend", "resume"}),
        (Phase.PROCESSING, False, {"retry", "resume"}),
        (Phase.SUSPENDED, True, {"retry", "suspend"}),
    ],
)
def test_the_actions_that_argo_cd_offers(phase: Phase, suspend: bool, disabled: set[str]) -> None:
    body = resource(Kind.IMAGE_GENERATION, {"phase": phase.value}, suspend=suspend)
    offered = resource_health.run_lua(ARGOCD / "actions/discovery.lua", body)
    assert offered.keys() == {"retry", "suspend", "resume"}
    assert {name for name, each in offered.items() if each["disabled"]} == disabled


def test_effects_of_the_actions() -> None:
    body = resource(Kind.IMAGE_GENERATION, {"phase": "Failed"}, prompt="x")
    retried = resource_health.run_lua(ARGOCD / "actions/retry.lua", body)
    assert list(retried["metadata"]["annotations"]) == ["contentgen.dev/rerun"]
    assert resource_health.run_lua(ARGOCD / "actions/suspend.lua", body)["spec"] == {"prompt": "x", "suspend": True}
    assert resource_health.run_lua(ARGOCD / "actions/resume.lua", body)["spec"] == {"prompt": "x", "suspend": False}


class Watched:
    """Context manager that records every version of one kind's resources from a watch."""

    def __init__(self, world: ClusterWorld, kind: str) -> None:
        self.versions: list[Body] = []
        tools = world.root / ".cluster"
        self._command = [
            str(tools / "bin/kubectl"), "--kubeconfig", str(tools / "kubeconfig"), "--namespace", world.namespace,
            "get", kind.lower(), "--watch", "--output", "json", "--output-watch-events",
        ]  # fmt: skip

    def __enter__(self) -> "Watched":
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        decoder, text = json.JSONDecoder(), ""
        for line in self._process.stdout:
            text += line
            try:
                event, end = decoder.raw_decode(text)
            except ValueError:
                continue
            text = text[end:].lstrip()
            self.versions.append(event["object"])

    def __exit__(self, *_: object) -> None:
        time.sleep(1)  # for delivery of the last event
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def of(self, name: str) -> list[Body]:
        return [version for version in self.versions if version["metadata"]["name"] == name]


def verdicts_of(versions: list[Body]) -> list[str]:
    """Argo CD's health of each version, which must agree with kstatus."""
    words = [resource_health.health(ARGOCD, version) for version in versions]
    assert [resource_health.KSTATUS_OF[word] for word in words] == resource_health.kstatus(KSTATUS, versions)
    return words


def story(words: list[str]) -> list[str]:
    """Sequence without repetitions."""
    return [word for index, word in enumerate(words) if index == 0 or words[index - 1] != word]


def test_each_version_of_a_training_and_a_transcription(world: ClusterWorld, film: str) -> None:
    with Watched(world, "loratraining") as loras, Watched(world, "transcription") as transcripts:
        spec = {"loraName": "ops", "triggerWord": "jf", "source": {"url": film}, "dataset": {"minImages": 8}}
        world.apply("LoraTraining", "ops", spec)
        world.apply("Transcription", "ops", {"source": {"url": film}})
        world.apply("Transcription", "ops-bad", {"source": {"url": "http://10.0.0.1/private.mp3"}})
        world.kubectl("wait", "transcription/ops-bad", "--for=condition=Failed", "--timeout=240s")
        world.kubectl("wait", "transcription/ops", "--for=condition=Complete", "--timeout=240s")
        world.kubectl("wait", "loratraining/ops", "--for=condition=Complete", "--timeout=240s")
    for versions in (loras.of("ops"), transcripts.of("ops")):
        assert len(versions) >= 6, "something was watched"
        assert story(verdicts_of(versions)) == ["Progressing", "Healthy"]
    assert story(verdicts_of(transcripts.of("ops-bad"))) == ["Progressing", "Degraded"]


def test_versions_of_images_held_edited_and_rerun(world: ClusterWorld) -> None:
    spec: Body = {"model": "flux-dev", "prompt": "ops one", "image": {"size": {"width": 512, "height": 384}}}
    with Watched(world, "imagegeneration") as watched:
        world.apply("ImageGeneration", "ops-held", spec | {"suspend": True})
        world.kubectl("wait", "imagegeneration/ops-held", "--for=condition=Suspended", "--timeout=60s")
        world.apply("ImageGeneration", "ops-held", spec | {"suspend": False})
        world.apply("ImageGeneration", "ops-edited", spec | {"prompt": "ops two"})
        world.wait("ImageGeneration", "ops-edited", lambda s: s.get("phase") not in (None, "Pending"))
        world.apply("ImageGeneration", "ops-edited", spec | {"prompt": "ops three"})
        world.kubectl("wait", "imagegeneration/ops-held", "--for=condition=Complete", "--timeout=240s")
        world.wait("ImageGeneration", "ops-edited", lambda s: len(s.get("versions", ())) == 2)
    assert story(verdicts_of(watched.of("ops-held"))) == ["Progressing", "Suspended", "Progressing", "Healthy"]
    # The completion of the first run is not the edit's: the health is Healthy only after the second run.
    assert story(verdicts_of(watched.of("ops-edited"))) == ["Progressing", "Healthy"]
    made = [str(len(each["status"].get("versions", ()))) for each in watched.of("ops-edited")]
    assert story(made) == ["0", "1", "2"]


def test_the_patch_for_argo_cd_holds_the_scripts() -> None:
    text = Path(ARGOCD / "argocd-cm.yaml").read_text()
    for kind in Kind:
        assert f"resource.customizations.health.contentgen.dev_{kind}: |" in text
        assert f"resource.customizations.actions.contentgen.dev_{kind}: |" in text
