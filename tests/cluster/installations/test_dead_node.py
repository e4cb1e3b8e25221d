"""A node dies with the leader and with workers on it, while the stores run on another one: the standby leads, polls and
submits, the Jobs are retried under new names, and nothing is paid twice.

The bare cluster alone has a second node (`python -m contentgen_cluster node-up`).
"""

import json
import logging
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from contentgen_cluster import release
from contentgen_cluster.node import node, second_node
from contentgen_cluster.node.settings import SECOND, SECOND_TAINT
from contentgen_contract.names import Kind
from contentgen_e2e import media
from contentgen_e2e.oracle import check_completed
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import Body, ClusterWorld, TookTooLong, installed

_log = logging.getLogger(__name__)
# The goals are 60 s and 3 min, and are measured; a machine that does other work as well may be slower.
GOES_ON_SECONDS, RETRIED_SECONDS, END_SECONDS = 90.0, 240.0, 240.0
_PREFERS = "worker.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0]"
VALUES = (
    "replicas=2",  # beside other lanes a release has one
    f"tolerations[0].key={SECOND_TAINT}",
    "tolerations[0].operator=Exists",
    f"worker.tolerations[0].key={SECOND_TAINT}",
    "worker.tolerations[0].operator=Exists",
    f"{_PREFERS}.weight=100",
    f"{_PREFERS}.preference.matchExpressions[0].key=kubernetes.io/hostname",
    f"{_PREFERS}.preference.matchExpressions[0].operator=In",
    f"{_PREFERS}.preference.matchExpressions[0].values={{{SECOND.node}}}",
    "worker.resources.requests.cpu=20m",
    "worker.resources.requests.memory=64Mi",
)


def command(name: str) -> None:
    subprocess.run([sys.executable, "-m", "contentgen_cluster", name], check=True)


@pytest.fixture(scope="module")
def second() -> Iterator[None]:
    """The second node."""
    if not node.whole():
        pytest.skip("only the bare cluster has a second node")
    command("node-up")
    yield
    command("node-down")


@pytest.fixture(scope="module")
def world(second: None) -> Iterator[ClusterWorld]:
    """Release whose operator and workers tolerate the second node; workers prefer it."""
    with installed(ROOT, "dead-node", *VALUES) as opened:
        yield opened
        opened.sandbox.delete("/sandbox/faults").raise_for_status()


@pytest.fixture(scope="module")
def film(world: ClusterWorld, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a video with a slow download, but faster than the 16 KiB/s that a worker requires of a host."""
    scenes = media.scenes(40, 2, (640, 360))
    content = media.film(tmp_path_factory.mktemp("media"), scenes, sound=False, streams=True)
    world.sandbox.put("/media/dead-node.mp4", content=content).raise_for_status()
    return f"{release.SANDBOX}/media/dead-node.mp4?seconds=40"


def until(what: str, holds: Callable[[], Any], seconds: float) -> float:
    """Seconds until the condition holds. Raises TookTooLong."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > seconds:
            raise TookTooLong(f"{what}: not after {seconds:.0f} s")
        time.sleep(0.3)
    return time.monotonic() - begun


def operators() -> dict[str, str]:
    """Nodes of the operator's ready pods by pod."""
    listed = _kubectl("get", "pods", "--selector", "app.kubernetes.io/component=operator", "--output", "json")
    return {
        pod["metadata"]["name"]: pod["spec"]["nodeName"]
        for pod in json.loads(listed)["items"]
        if "deletionTimestamp" not in pod["metadata"]
        and any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in pod["status"].get("conditions", ())
        )
    }


def leader() -> str:
    """Pod that holds the Lease; empty if none."""
    holder = _kubectl("get", "lease", "contentgen", "--output", "jsonpath={.spec.holderIdentity}")
    return next((pod for pod in operators() if holder.startswith(pod)), "")


def _kubectl(*args: str) -> str:
    return release.kubectl(ROOT, "--namespace", release.NAMESPACE, *args)


def lead_from_the_second_node() -> str:
    """Move leadership to the second node, with the standby on the first; returns the leader's pod."""
    for _ in range(6):
        until("two operators are ready, and one leads", lambda: len(operators()) == 2 and leader(), 90)
        where, leads = operators(), leader()
        if sorted(where.values()) == sorted([SECOND.node, "contentgen"]) and where.get(leads) == SECOND.node:
            return leads
        on_the_first = [pod for pod, name in where.items() if name != SECOND.node]
        gone = leads if leads in on_the_first else next(iter(on_the_first or where))
        _kubectl("delete", "pod", gone, "--wait=true", "--timeout=60s")
    raise TookTooLong(f"no leader on the second node: {operators()}, {leader()} leads")


@dataclass
class Figures:
    """Measured times in seconds since the node's end."""

    begun: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)

    def note(self, what: str, holds: Callable[[], Any], seconds: float) -> None:
        """Wait until the condition holds, with a limit since the node's end."""
        until(what, holds, max(seconds - (time.monotonic() - self.begun), 1.0))
        self.seconds[what] = round(time.monotonic() - self.begun, 1)


def _lora(film: str, name: str) -> Body:
    return {"loraName": name, "triggerWord": "jf", "source": {"url": film}, "dataset": {"minImages": 4}}


def _picture(world: ClusterWorld, name: str, model: str) -> None:
    seed = zlib.crc32(f"{world.namespace}{name}".encode()) >> 1
    image = {"size": {"width": 256, "height": 256}, "seed": seed}
    world.apply("ImageGeneration", name, {"model": model, "prompt": name, "image": image})


def _node_is_ready() -> bool:
    ready = "{.status.conditions[?(@.type=='Ready')].status}"
    return release.kubectl(ROOT, "get", "node", SECOND.node, "--output", f"jsonpath={ready}") == "True"


def _job_of(world: ClusterWorld, name: str) -> str:
    run = (world.get("LoraTraining", name).get("status") or {}).get("run") or {}
    return str((run.get("job") or {}).get("name") or "")


def _runs_on_the_second_node(world: ClusterWorld, name: str) -> bool:
    body = world.get("LoraTraining", name)
    pods = world.worker_pods(body["metadata"]["uid"])
    status = body.get("status") or {}
    on_it = any(pod["spec"].get("nodeName") == SECOND.node and pod["status"]["phase"] == "Running" for pod in pods)
    return on_it and status.get("stage") in ("Downloading", "DetectingScenes", "ExtractingFrames")


@pytest.mark.parametrize("how", ["cut-off", "powered-off"])
def test_the_work_of_a_dead_node_goes_on(how: str, world: ClusterWorld, film: str) -> None:
    """A disconnected node's leader and workers continue, and return after the work was restarted on another node."""
    polled, submitted, *loras = (f"{how}-{word}" for word in ("polled", "submitted", "first", "second"))
    stuck = {"provider": "fal", "model": "fal-ai/flux/schnell", "fault": "stuck"}
    world.sandbox.put("/sandbox/faults", json=[stuck]).raise_for_status()
    former = lead_from_the_second_node()
    _picture(world, polled, "flux-schnell")
    body = world.wait("ImageGeneration", polled, lambda status: status.get("phase") == "Processing", 60)
    request = body["status"]["run"]["requestId"]
    for name in loras:
        world.apply("LoraTraining", name, _lora(film, name))
    for name in loras:
        until(f"{name} is prepared on the second node", lambda name=name: _runs_on_the_second_node(world, name), 60)
    jobs = {name: _job_of(world, name) for name in loras}

    if how == "cut-off":
        second_node.cut_off()
    else:
        second_node.power_off()
    figures = Figures()
    _picture(world, submitted, "flux-dev")
    world.sandbox.delete(f"/sandbox/jobs/{request}/faults").raise_for_status()
    figures.note("another operator leads", lambda: leader() not in ("", former), GOES_ON_SECONDS)
    figures.note(
        "a request is submitted",
        lambda: (world.get("ImageGeneration", submitted).get("status") or {}).get("run", {}).get("requestId"),
        GOES_ON_SECONDS,
    )
    figures.note(
        "a request is polled",
        lambda: world.get("ImageGeneration", polled)["status"]["phase"] in ("Collecting", "Completed"),
        GOES_ON_SECONDS,
    )
    for name in loras:
        figures.note(
            f"{name} has another Job",
            lambda name=name: _job_of(world, name) not in ("", jobs[name]),
            RETRIED_SECONDS,
        )
    leads = leader()
    if how == "cut-off":
        second_node.connect()
        until("the node is back", _node_is_ready, 90)
    for kind, name in [(Kind.IMAGE_GENERATION, each) for each in (polled, submitted)] + _trainings(loras):
        world.wait_for_end(kind, name, END_SECONDS)
        figures.seconds[f"{name} has ended"] = round(time.monotonic() - figures.begun, 1)
    _log.warning("%s: %s", how, json.dumps(figures.seconds))

    for name in loras:
        body = check_completed(world, Kind.LORA_TRAINING, name)
        assert body["status"]["run"]["paidAttempt"] == 1
    for name in (polled, submitted):
        body = check_completed(world, Kind.IMAGE_GENERATION, name)
        assert body["status"]["run"]["paidAttempt"] == 1
        marker = f"seed:{body['spec']['image']['seed']}"
        assert sum(purchase["marker"] == marker for purchase in world.billed()) == 1
    assert leader() == leads, "nobody takes the Lease from it"
    left = json.loads(world.kubectl("get", "jobs", "--output", "json"))["items"]
    assert not {job["metadata"]["name"] for job in left} & set(jobs.values()), "they would never be finished"
    events = world.kubectl("get", "events", "--field-selector", "reason=Retrying", "--output", "json")
    told = [each["message"] for each in json.loads(events)["items"]]
    lost = [each for each in told if f"{SECOND.node} has not ended it" in each and "prepare stage" in each]
    assert len(lost) >= len(loras), told


def _trainings(names: list[str]) -> list[tuple[Kind, str]]:
    return [(Kind.LORA_TRAINING, name) for name in names]
