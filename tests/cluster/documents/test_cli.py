"""`kubectl contentgen` on a real cluster, run by kubectl as a plugin."""

import json
from typing import Any

import pytest

from contentgen_cluster import release
from contentgen_e2e.world import ClusterWorld, until

Spec = dict[str, Any]
PICTURE: Spec = {"model": "flux-dev", "prompt": "a kubectl plugin", "image": {"size": {"width": 512, "height": 384}}}


@pytest.fixture(scope="module")
def talk(world: ClusterWorld, film: str) -> str:
    """A completed Transcription."""
    world.apply("Transcription", "plugin", {"source": {"url": film}})
    assert "Completed" in world.plugin("watch", "plugin", "--timeout", "240", seconds=300)
    return "plugin"


def test_a_completed_one(world: ClusterWorld, talk: str) -> None:
    story = world.plugin("why", talk)
    assert f"Transcription {world.namespace}/{talk} is Completed" in story
    assert f"kubectl contentgen get files transcript/{talk} -n {world.namespace}" in story
    status = world.get("Transcription", talk)["status"]
    assert status["cost"]["actual"] in world.plugin("cost", "--since", "1d")
    listed = json.loads(world.plugin("get", "files", talk, "-o", "json"))
    keys = [file["key"] for version in listed["versions"] for file in version["files"]]
    assert keys == [file["key"] for version in status["versions"] for file in version["files"]]
    for file in listed["versions"][0]["files"]:
        assert file["url"] == f"s3://{listed['versions'][0]['bucket']}/{file['key']}"
        assert len(world.read(file["key"])) == file["sizeBytes"]
    assert "standard input is not a terminal for the confirmation: give --yes" in world.plugin("retry", talk, code=1)


def test_logs_outlive_their_pods(world: ClusterWorld, talk: str) -> None:
    uid = world.get("Transcription", talk)["metadata"]["uid"]
    assert world.worker_pods(uid)
    before = world.plugin("logs", talk)
    for step in ("Downloading", "ExtractingAudio", "UploadingAudio", "Storing", "outcome: reason Completed"):
        assert step in before, before
    world.kubectl("delete", "jobs", "--selector", f"contentgen.dev/uid={uid}", "--wait=true")
    world.kubectl("wait", "pod", "--for=delete", "--selector", f"contentgen.dev/uid={uid}", "--timeout=60s")
    assert not world.worker_pods(uid)
    after = world.plugin("logs", talk)
    assert "from the status; its pod is deleted" in after
    for step in ("Downloading", "ExtractingAudio", "UploadingAudio", "Storing", "outcome: reason Completed"):
        assert step in after, after
    assert "Downloading" not in world.plugin("logs", talk, "--stage", "collect")


def test_a_failed_one(world: ClusterWorld) -> None:
    none = f"{release.SANDBOX}/media/no-such-film.mp4"
    world.apply("Transcription", "plugin-failed", {"source": {"url": none}})
    assert "Failed" in world.plugin("watch", "transcript/plugin-failed", "--timeout", "120", code=1, seconds=150)
    story = world.plugin("why", "plugin-failed")
    assert "is Failed (SourceUnreachable)" in story
    assert "Correct the URL" in story
    assert "kubectl contentgen retry transcript/plugin-failed" in story
    assert "reason SourceUnreachable" in world.plugin("logs", "plugin-failed")
    assert "no files yet: it is Failed" in world.plugin("get", "files", "plugin-failed", code=1)
    assert "Nothing was paid" in world.plugin("retry", "plugin-failed")
    world.wait("Transcription", "plugin-failed", lambda s: (s.get("run") or {}).get("number") == 2)


def test_image_that_waits_for_a_lora(world: ClusterWorld) -> None:
    spec = PICTURE | {"model": "flux-lora", "loras": [{"loraRef": {"name": "not-there"}}]}
    world.apply("ImageGeneration", "plugin-waits", spec)
    world.wait("ImageGeneration", "plugin-waits", lambda s: s.get("reason") == "LoraMissing")
    story = world.plugin("why", "imagegen", "plugin-waits")
    assert "lora/not-there: does not exist in this namespace" in story
    assert "is under way" in world.plugin("retry", "plugin-waits", "--yes", code=1)
    assert "has no log" in world.plugin("logs", "plugin-waits", code=1)
    assert "is suspended" in world.plugin("suspend", "plugin-waits")
    world.wait("ImageGeneration", "plugin-waits", lambda s: s.get("phase") == "Suspended")
    assert "kubectl contentgen resume imagegen/plugin-waits" in world.plugin("why", "plugin-waits")
    assert "is resumed" in world.plugin("resume", "plugin-waits")
    world.wait("ImageGeneration", "plugin-waits", lambda s: s.get("reason") == "LoraMissing")
    assert "Nothing was paid for this run." in world.plugin("cancel", "plugin-waits")
    ended = world.wait("ImageGeneration", "plugin-waits", lambda s: s.get("reason") == "Cancelled")
    assert ended["status"]["run"]["billed"] is False
    assert "there is nothing to cancel" in world.plugin("cancel", "plugin-waits", code=1)
    world.kubectl("delete", "imagegeneration", "plugin-waits")


def test_a_pod_that_may_not_be_made(world: ClusterWorld, film: str) -> None:
    """An exhausted quota."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-pods"},
        "spec": {"hard": {"pods": "0"}},
    }
    world.kubectl("apply", "--filename", "-", stdin=json.dumps(quota))
    world.apply("Transcription", "plugin-quota", {"source": {"url": film}})
    world.wait("Transcription", "plugin-quota", lambda s: (s.get("run") or {}).get("job") is not None)
    until(lambda: "exceeded quota: no-pods" in world.plugin("why", "plugin-quota"), seconds=30)
    assert "Remove the cause of the pod's wait" in world.plugin("why", "plugin-quota")
    world.kubectl("delete", "transcription", "plugin-quota")
    world.kubectl("delete", "resourcequota", "no-pods")


def test_an_unschedulable_one(world: ClusterWorld, film: str) -> None:
    """A node that is cordoned during the creation of the pod."""
    node = world.kubectl("get", "nodes", "--output", "jsonpath={.items[0].metadata.name}")
    world.kubectl("cordon", node)
    try:
        world.apply("Transcription", "plugin-stuck", {"source": {"url": film}})
        until(lambda: "no node has room for it" in world.plugin("why", "plugin-stuck"), seconds=60)
        story = world.plugin("why", "plugin-stuck")
        assert "unschedulable" in story
        assert "kubectl describe pod contentgen-" in story
        assert "the pod is Pending: no node has room for it" in world.plugin("logs", "plugin-stuck")
    finally:
        world.kubectl("uncordon", node)
    assert "Completed" in world.plugin("watch", "plugin-stuck", "--timeout", "240", seconds=300)


def test_names_and_refusals(world: ClusterWorld, talk: str) -> None:
    world.apply("ImageGeneration", talk, PICTURE)
    assert f"imagegen/{talk} or transcript/{talk}" in world.plugin("why", talk, code=1)
    mistaken = world.run_plugin("why", talk, "--context", "nowhere")
    assert (mistaken.returncode, "no usable kubeconfig" in mistaken.stderr) == (1, True)
