"""A first day: mistakes of the administrator, limits of the namespace, and a company's network. Nobody touches a Job.

All resources end as Completed, are paid once, and name the cause of each wait.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from contentgen_cluster import release
from contentgen_contract.names import Kind
from contentgen_e2e import small_jobs
from contentgen_e2e.company import edge
from contentgen_e2e.oracle import check_completed
from contentgen_e2e.settings import KEYS, ROOT
from contentgen_e2e.world import ClusterWorld, installed

Body = dict[str, Any]
STAGE_SECONDS = 60  # while nothing starts; on a busy machine a worker may need more
TRAININGS = int(os.environ.get("CONTENTGEN_TRAININGS") or 6)
SLOT, PRIORITY = "contentgen.dev/slot", "first-day-paid"
LIGHT = (
    "worker.resources.requests.cpu=20m",
    "worker.resources.requests.memory=64Mi",
)
SANDBOX = f"contentgen-sandbox.{release.NAMESPACE}.svc"


@dataclass(frozen=True)
class FirstDayMistake:
    """Chart values or limits that keep workers from starting, and the status that names the cause."""

    about: str
    reason: str
    cause: str
    values: tuple[str, ...] = ()
    limits: Body | None = None  # spec of a LimitRange
    outlasts: bool = False  # it lasts longer than the time of a stage, which counts from the pod's start


MISTAKES = (
    FirstDayMistake(
        "no such image", "PodNotStarted", "contentgen/no-such-worker:1",
        values=("worker.image.reference=contentgen/no-such-worker:1",),
    ),
    FirstDayMistake(
        "no such node", "PodNotStarted", "node affinity/selector", values=("worker.nodeSelector.gpu=yes",),
        outlasts=True,
    ),
    FirstDayMistake(
        "a LimitRange below the worker's limit", "JobRefused", "maximum memory usage per Container is 1Gi",
        limits={"limits": [{"type": "Container", "max": {"memory": "1Gi"}, "default": {"memory": "1Gi"}}]},
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def world() -> Iterator[ClusterWorld]:
    with installed(ROOT, "first-day", *LIGHT) as opened:
        yield opened


@pytest.fixture(scope="module")
def media(world: ClusterWorld) -> str:
    """URL of a folder with the films film-0.mp4, film-1.mp4, …"""
    for number in range(2):
        world.sandbox.put(f"/media/film-{number}.mp4", content=small_jobs.film(number)).raise_for_status()
    return f"{release.SANDBOX}/media"


def install(*values: str) -> None:
    release.install(ROOT, *KEYS, *LIGHT, *values)


def apply(world: ClusterWorld, kind: Kind, name: str, film: str) -> None:
    world.apply(kind, name, small_jobs.spec(kind, f"{world.namespace}-{name}", film))


@contextmanager
def limited(world: ClusterWorld, kind: str, spec: Body) -> Iterator[None]:
    """A LimitRange or ResourceQuota in the namespace within the context."""
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "limit"}, "spec": spec}
    world.kubectl("apply", "--filename", "-", stdin=json.dumps(body))
    yield
    world.kubectl("delete", kind, "limit")


def until_it_says(world: ClusterWorld, kind: Kind, name: str, reason: str, cause: str) -> None:
    """Wait until the status has the reason, and the cause in its message."""
    world.wait(kind, name, lambda s: s.get("reason") == reason and cause in (s.get("message") or ""), 120)


def all_completed(world: ClusterWorld, names: dict[Kind, list[str]], seconds: float = 240) -> None:
    for kind, each in ((kind, each) for kind, listed in names.items() for each in listed):
        world.wait_for_end(kind, each, seconds)
        check_completed(world, kind, each)


def test_values_mend_what_keeps_workers_from_starting(
    world: ClusterWorld, media: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """The Jobs of a mistake follow the values of the next installation. The picture is paid before the first Job.

    The report has the seconds until all three resources named the cause.
    """
    waiting = {kind: [f"mended-{kind.value.lower()}"] for kind in Kind}
    start = len(world.billed())
    with ExitStack() as limits:
        for number, mistake in enumerate(MISTAKES):
            if mistake.limits is not None:
                limits.enter_context(limited(world, "LimitRange", mistake.limits))
            install(f"stageDeadlineSeconds={STAGE_SECONDS}", *mistake.values)
            if number == 0:
                for kind, (name,) in waiting.items():
                    apply(world, kind, name, f"{media}/film-0.mp4")
            since = time.monotonic()
            for kind, (name,) in waiting.items():
                until_it_says(world, kind, name, mistake.reason, mistake.cause)
            record_testsuite_property(mistake.about, round(time.monotonic() - since))
            if mistake.outlasts:
                time.sleep(STAGE_SECONDS)
        assert len(world.billed()) == start + 1, "of the picture alone"
        install(f"worker.namespaces.{world.namespace}.resources.limits.memory=1Gi")
        all_completed(world, waiting)
    assert len(world.billed()) == start + len(Kind)


def test_a_quota_of_one_job_is_enough(world: ClusterWorld, media: str) -> None:
    install()
    names = {Kind.TRANSCRIPTION: ["one-0", "one-1"], Kind.IMAGE_GENERATION: ["one-2"]}
    with limited(world, "ResourceQuota", {"hard": {"count/jobs.batch": "1"}}):
        for kind, listed in names.items():
            for number, name in enumerate(listed):
                apply(world, kind, name, f"{media}/film-{number}.mp4?{name}")
        all_completed(world, names)


def test_a_store_with_a_private_ca_behind_a_proxy(world: ClusterWorld, media: str) -> None:
    """Sources come through the proxy, which is asked for an address; the store is asked directly."""
    assert media
    with edge.company_edge():
        install(
            f"storage.endpoint=https://{edge.HOST}:{edge.S3_PORT}",
            f"storage.publicEndpoint=http://{SANDBOX}:7070",  # for the providers, which have only the public CAs
            f"caBundle.configMap={edge.CA_CONFIG_MAP}",
            f"proxy.https=http://{edge.HOST}:{edge.PROXY_PORT}",
            f"allowedHosts={{{edge.OUTSIDE}:{edge.MEDIA_PORT},{SANDBOX}:80}}",
        )
        names = {kind: [f"company-{kind.value.lower()}"] for kind in Kind}
        for kind, (name,) in names.items():
            apply(world, kind, name, f"https://{edge.OUTSIDE}:{edge.MEDIA_PORT}/media/film-1.mp4?company")
        all_completed(world, names)
        assert set(edge.proxied()) == {f"{edge.address()}:{edge.MEDIA_PORT}"}
        install()


@pytest.fixture
def slots() -> Iterator[None]:
    """Two places for workers on the node, and a priority class for those that store paid results."""
    paid = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": PRIORITY},
        "value": 1000,
    }
    release.kubectl(ROOT, "apply", "--filename", "-", stdin=json.dumps(paid))
    node = json.loads(release.kubectl(ROOT, "get", "nodes", "--output", "json"))["items"][0]["metadata"]["name"]
    path = f"/status/capacity/{SLOT.replace('/', '~1')}"
    patch = ("patch", "node", node, "--subresource=status", "--type=json", "--patch")
    release.kubectl(ROOT, *patch, json.dumps([{"op": "add", "path": path, "value": "2"}]))
    yield
    release.kubectl(ROOT, *patch, json.dumps([{"op": "remove", "path": path}]))
    release.kubectl(ROOT, "delete", "priorityclass", PRIORITY)


def test_many_trainings_in_a_pool_for_two(world: ClusterWorld, media: str, slots: None) -> None:
    place = SLOT.replace(".", "\\.")
    install(
        *(f"worker.resources.{kind}.{place}=1" for kind in ("requests", "limits")),
        "queues.maxPrepareJobs.overall=4",
        f"worker.kinds.LoraTraining.collect.priorityClassName={PRIORITY}",
    )
    start = len(world.billed())
    names = [f"pool-{number}" for number in range(TRAININGS)]
    for name in names:
        apply(world, Kind.LORA_TRAINING, name, f"{media}/film-0.mp4?{name}")
    all_completed(world, {Kind.LORA_TRAINING: names}, 1800)
    assert len(world.billed()) == start + TRAININGS
