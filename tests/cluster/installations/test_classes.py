"""Several installations in one cluster: one operator per class, and no payment after moves between classes.

Beside the main release (class `default`) are: `second`, with stores and a provider of its own; `near`, with those of
the main release; `rival`, applied without Helm's checks, of the class of `near` and with the same stores.
"""

import json
import os
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from contentgen_cluster import release
from contentgen_contract.names import FINALIZER, UID_LABEL, Kind
from contentgen_contract.resources.operator_class import CLASS_LABEL, DEFAULT_CLASS, class_of
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import Body, ClusterWorld, open_world, until

KIND = Kind.IMAGE_GENERATION
CHART = str(ROOT / "charts/contentgen")
SECOND, NEAR = "second", "near"
EACH = int(os.environ.get("CONTENTGEN_EACH") or 12)  # number of resources per installation
SMALL = (
    "resources.requests.cpu=100m",  # less would delay Lease renewals beside a hundred workers
    "resources.requests.memory=128Mi",
    "sandbox.resources.requests.cpu=100m",
    "sandbox.resources.requests.memory=128Mi",
    "worker.resources.requests.cpu=20m",
    "worker.resources.requests.memory=64Mi",
)


@dataclass(frozen=True)
class Installation:
    """Release of the chart in its own namespace, with its values."""

    namespace: str
    operator_class: str
    values: tuple[str, ...]

    @property
    def sets(self) -> list[str]:
        """Values as helm flags."""
        values = (
            f"operatorClass={self.operator_class}", "crds.install=false", "gateway.enabled=false", "replicas=1", *SMALL,
            *release.images(ROOT), *self.values,
        )  # fmt: skip
        return [part for value in values for part in ("--set", value)]

    def install(self, seconds: int = 120) -> None:
        where = ("--namespace", self.namespace, "--wait", "--timeout", f"{seconds}s")
        release.helm(ROOT, "upgrade", "--install", release.RELEASE, CHART, *where, *self.sets)

    def uninstall(self) -> float:
        """Uninstall; returns the duration in seconds."""
        start = time.monotonic()
        where = ("--namespace", self.namespace, "--wait", "--timeout", "90s")
        release.helm(ROOT, "uninstall", release.RELEASE, *where, with_errors=True)
        return time.monotonic() - start

    def manifests(self) -> list[Body]:
        """Manifests rendered without cluster access, like by Argo CD."""
        where = ("--namespace", self.namespace, "--no-hooks", "--skip-tests")
        rendered = release.helm(ROOT, "template", release.RELEASE, CHART, *where, *self.sets)
        return [each for each in yaml.safe_load_all(rendered) if each]

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return release.kubectl(ROOT, "--namespace", self.namespace, *args, stdin=stdin)

    def is_ready(self) -> bool:
        """Whether all operators are ready. A standby can be ready while the leader is not."""
        path = "jsonpath={.status.readyReplicas} {.spec.replicas}"
        ready, _, wanted = self.kubectl("get", "deployment/contentgen", "--output", path).partition(" ")
        return ready == wanted

    def log(self) -> str:
        """Logs of the operators; empty before their containers have started."""
        with suppress(release.CommandFailed):
            return self.kubectl("logs", "--selector", "app.kubernetes.io/component=operator", "--tail=-1")
        return ""


def shared(sandbox: str) -> tuple[str, ...]:
    """Values of a release with the main release's stores and provider."""
    return (
        f"mongodb.uri=mongodb://{sandbox}:27017/",
        f"storage.endpoint=http://{sandbox}:7070",
        f"allowedHosts={{{sandbox}:80}}",
        "storage.accessKeyId=contentgen-sandbox",
        "storage.secretAccessKey=contentgen-sandbox-secret",
        "providers.fal.key=sandbox",
        f"providers.fal.queueUrl=http://{sandbox}/fal",
        f"providers.fal.apiUrl=http://{sandbox}/fal-api",
        "providers.assemblyai.key=sandbox",
        f"providers.assemblyai.url=http://{sandbox}/assemblyai",
    )


STORES = shared(f"contentgen-sandbox.{release.NAMESPACE}.svc")
OWN_STORES = Installation("contentgen-second", SECOND, ("sandbox.enabled=true",))
SAME_STORES = Installation("contentgen-near", NEAR, STORES)
RIVAL = Installation("contentgen-rival", NEAR, STORES)


def make_namespace(name: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    release.kubectl(ROOT, "apply", "--filename", "-", stdin=json.dumps(body))


@pytest.fixture(scope="module")
def near(world: ClusterWorld) -> Iterator[Installation]:
    """A second release with the stores of the first."""
    make_namespace(SAME_STORES.namespace)
    SAME_STORES.install()
    yield SAME_STORES
    with suppress(release.CommandFailed):
        SAME_STORES.uninstall()
    release.kubectl(ROOT, "delete", "namespace", SAME_STORES.namespace, "--wait=false")


@pytest.fixture(scope="module")
def second(world: ClusterWorld) -> Iterator[ClusterWorld]:
    """A second release with stores of its own, accessed through the first release's namespace."""
    make_namespace(OWN_STORES.namespace)
    OWN_STORES.install()
    with open_world(ROOT, f"{world.namespace}-second", OWN_STORES.namespace) as opened:
        yield opened
    with suppress(release.CommandFailed):
        OWN_STORES.uninstall()
    release.kubectl(ROOT, "delete", "namespace", OWN_STORES.namespace, "--wait=false")


def spec(name: str, to: str = DEFAULT_CLASS, **more: Any) -> Body:
    """Spec of a small picture; its seed identifies its payments."""
    image = {"size": {"width": 256, "height": 256}, "seed": seed(name)}
    of_class = {} if to == DEFAULT_CLASS else {"operatorClass": to}
    return {"model": "flux-dev", "prompt": name, "image": image} | of_class | more


def seed(name: str) -> int:
    return zlib.crc32(name.encode()) >> 1


def paid(world: ClusterWorld, *names: str) -> list[int]:
    """Number of payments per picture at this installation's provider."""
    markers = [purchase["marker"] for purchase in world.billed()]
    return [markers.count(f"seed:{seed(name)}") for name in names]


def apply_all(world: ClusterWorld, namespace: str, specs: dict[str, Body]) -> None:
    items = [
        {"apiVersion": "contentgen.dev/v1alpha1", "kind": KIND.value, "spec": spec,
         "metadata": {"name": name, "namespace": namespace}}
        for name, spec in specs.items()
    ]  # fmt: skip
    listed = {"apiVersion": "v1", "kind": "List", "items": items}
    release.kubectl(ROOT, "apply", "--filename", "-", stdin=json.dumps(listed))


def completed(world: ClusterWorld, name: str) -> Body:
    body = world.wait_for_end(KIND, name)
    assert body["status"]["phase"] == "Completed", body["status"]
    return body


def move(world: ClusterWorld, *words: str, code: int = 0) -> str:
    """Run `kubectl contentgen move …` in the test's namespace."""
    return world.plugin("move", *words, code=code)


def tell(text: str) -> None:
    """Print a figure into the log."""
    sys.stdout.write(f"{text}\n")


def classes() -> list[str]:
    """Served operator classes."""
    path = "jsonpath={.items[*].metadata.name}"
    return release.kubectl(ROOT, "get", "operatorclasses", "--output", path).split()


def jobs_of(world: ClusterWorld, uid: str) -> list[str]:
    """The classes of the operators that created Jobs for a resource, in order."""
    listed = json.loads(world.kubectl("get", "jobs", "--selector", f"contentgen.dev/uid={uid}", "--output", "json"))
    made = sorted(listed["items"], key=lambda each: str(each["metadata"]["creationTimestamp"]))
    return [resource["metadata"]["labels"][CLASS_LABEL] for resource in made]


# One class, one installation


def test_the_same_class_is_refused_at_the_install(world: ClusterWorld) -> None:
    make_namespace(RIVAL.namespace)
    until(lambda: DEFAULT_CLASS in classes(), "the class of the main release")
    again = Installation(RIVAL.namespace, DEFAULT_CLASS, STORES)
    with pytest.raises(release.CommandFailed, match="is served by the release contentgen in the namespace contentgen"):
        again.install(seconds=30)
    # Helm's ownership check applies until the operator has created the object again.
    release.kubectl(ROOT, "delete", "operatorclass", DEFAULT_CLASS)
    with pytest.raises(release.CommandFailed, match=r"contentgen-class-default|is served by the release"):
        again.install(seconds=30)
    until(lambda: DEFAULT_CLASS in classes(), "the class again")
    world.apply(KIND, "undisturbed", spec("undisturbed"))
    completed(world, "undisturbed")
    assert paid(world, "undisturbed") == [1]


def test_second_installation_takes_the_class_after_the_uninstall(world: ClusterWorld, near: Installation) -> None:
    uid = world.apply(KIND, "kept", spec("kept", NEAR))
    completed(world, "kept")
    make_namespace(RIVAL.namespace)
    rendered = [
        manifest for manifest in RIVAL.manifests() if manifest["metadata"]["name"] != f"contentgen-class-{NEAR}"
    ]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": rendered})
    try:
        RIVAL.kubectl("apply", "--filename", "-", stdin=listed)
        served = f"the operator class {NEAR} is served by"
        until(lambda: served in RIVAL.log(), "the refusal in the log")
        assert near.namespace in RIVAL.log()
        messages = ("get", "events", "--output", "jsonpath={.items[*].message}")
        until(lambda: served in RIVAL.kubectl(*messages), "the refusal in an event")
        until(lambda: not RIVAL.is_ready(), "the refusal in the readiness")
        world.apply(KIND, "beside", spec("beside", NEAR))
        completed(world, "beside")
        assert paid(world, "kept", "beside") == [1, 1]
        owner = json.loads(release.kubectl(ROOT, "get", "operatorclass", NEAR, "--output", "json"))["spec"]["owner"]
        assert owner["namespace"] == near.namespace

        tell(f"uninstalled in {near.uninstall():.1f} s")
        until(RIVAL.is_ready, "the takeover of the class")
        world.apply(KIND, "kept", spec("kept", NEAR, metadata={"tags": ["new"]}))
        world.apply(KIND, "after", spec("after", NEAR))
        completed(world, "after")
        completed(world, "kept")
        assert world.get(KIND, "kept")["metadata"]["uid"] == uid
        assert paid(world, "kept", "beside", "after") == [1, 1, 1]
    finally:
        RIVAL.kubectl("delete", "--ignore-not-found", "--wait=false", "--filename", "-", stdin=listed)
        release.kubectl(ROOT, "delete", "namespace", RIVAL.namespace, "--timeout=60s")
        release.kubectl(ROOT, "delete", "operatorclass", NEAR, "--ignore-not-found")
    make_namespace(near.namespace)
    near.install()


# Two classes side by side


def test_each_class_pays_once_for_its_own_resources(world: ClusterWorld, second: ClusterWorld) -> None:
    mine, theirs = ([f"{name}-{number}" for number in range(EACH)] for name in ("first", "second"))
    both = {name: spec(name) for name in mine} | {name: spec(name, SECOND) for name in theirs}
    apply_all(world, world.namespace, {name: both[name] for pair in zip(mine, theirs, strict=True) for name in pair})

    def ended() -> bool:
        bodies = [resource for resource in world.resources() if resource["metadata"]["name"] in both]
        return len(bodies) == 2 * EACH and all(
            (body.get("status") or {}).get("phase") in ("Completed", "Failed") for body in bodies
        )

    until(ended, f"{2 * EACH} resources", seconds=400)
    bodies = {resource["metadata"]["name"]: resource for resource in world.resources()}
    assert {bodies[name]["status"]["phase"] for name in both} == {"Completed"}
    assert paid(world, *mine) == [1] * EACH
    assert paid(second, *theirs) == [1] * EACH
    assert paid(world, *theirs) == paid(second, *mine) == [0] * EACH
    assert world.ledger_collection.count_documents({"jobId": {"$in": [uid(bodies[name]) for name in theirs]}}) == 0
    assert second.ledger_collection.count_documents({"jobId": {"$in": [uid(bodies[name]) for name in mine]}}) == 0
    listed = json.loads(world.kubectl("get", "jobs", "--output", "json"))["items"]
    known = {uid(bodies[name]): class_of(bodies[name]) for name in both}
    labels = [resource["metadata"]["labels"] for resource in listed]
    made = {(label[UID_LABEL], label[CLASS_LABEL]) for label in labels if label[UID_LABEL] in known}
    assert made <= set(known.items())


def uid(body: Body) -> str:
    return str(body["metadata"]["uid"])


# Moves


def test_an_idle_resource_moves_where_stores_are_shared(world: ClusterWorld, near: Installation) -> None:
    job = world.apply(KIND, "shared", spec("shared"))
    before = completed(world, "shared")["status"]["versions"]
    move(world, "shared", "--to", NEAR)
    world.apply(KIND, "shared", spec("shared", NEAR, metadata={"tags": ["moved"]}))
    until(lambda: seen(world, "shared"), "the edit of the tags is seen")
    assert completed(world, "shared")["status"]["versions"] == before
    assert paid(world, "shared") == [1]
    world.apply(KIND, "shared", spec("shared", NEAR, prompt="edited"))
    world.wait(KIND, "shared", lambda s: len(s.get("versions", ())) == 2 and s["phase"] == "Completed")
    assert (paid(world, "shared"), jobs_of(world, job)[-1]) == ([2], NEAR)
    move(world, "shared", "--to", DEFAULT_CLASS)
    world.apply(KIND, "shared", spec("shared", prompt="edited", metadata={"tags": ["back"]}))
    until(lambda: seen(world, "shared"), "the edit of the tags is seen")
    assert (completed(world, "shared")["status"]["phase"], paid(world, "shared")) == ("Completed", [2])


def test_an_idle_resource_moves_to_other_stores_and_back(world: ClusterWorld, second: ClusterWorld) -> None:
    world.apply(KIND, "apart", spec("apart"))
    before = completed(world, "apart")["status"]["versions"]
    move(world, "apart", "--to", SECOND)
    world.apply(KIND, "apart", spec("apart", SECOND, metadata={"tags": ["moved"]}))
    until(lambda: seen(world, "apart"), "the edit of the tags is seen")
    assert completed(world, "apart")["status"]["versions"] == before
    assert (paid(world, "apart"), paid(second, "apart")) == ([1], [0])
    world.apply(KIND, "apart", spec("apart", SECOND, prompt="edited"))
    world.wait(KIND, "apart", lambda s: len(s.get("versions", ())) == 2 and s["phase"] == "Completed")
    assert (paid(world, "apart"), paid(second, "apart")) == ([1], [1])
    move(world, "apart", "--to", DEFAULT_CLASS)
    world.apply(KIND, "apart", spec("apart", prompt="edited", metadata={"tags": ["back"]}))
    until(lambda: seen(world, "apart"), "the edit of the tags is seen")
    assert completed(world, "apart")["status"]["phase"] == "Completed"
    world.apply(KIND, "apart", spec("apart", prompt="edited once more"))
    world.wait(KIND, "apart", lambda s: len(s.get("versions", ())) == 3 and s["phase"] == "Completed")
    assert (paid(world, "apart"), paid(second, "apart")) == ([2], [1])


def seen(world: ClusterWorld, name: str) -> bool:
    body = world.get(KIND, name)
    return bool(body["status"]["observedGeneration"] == body["metadata"]["generation"])


def test_resource_does_not_move_during_a_run(world: ClusterWorld, near: Installation) -> None:
    fault = {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "stuck", "count": 1}
    world.sandbox.put("/sandbox/faults", json=[fault]).raise_for_status()
    world.apply(KIND, "busy", spec("busy"))
    request = world.wait(KIND, "busy", lambda s: s.get("phase") == "Processing")["status"]["run"]["requestId"]
    before = {resource["metadata"]["name"]: class_of(resource) for resource in world.resources()}
    said = move(world, "--all", "--to", NEAR, code=1)
    assert "nothing was moved" in said
    assert "imagegen/busy: its run 1 is under way (Processing" in said
    with pytest.raises(release.CommandFailed, match="must not change during a run"):
        world.apply(KIND, "busy", spec("busy", NEAR))
    assert {resource["metadata"]["name"]: class_of(resource) for resource in world.resources()} == before
    world.sandbox.delete(f"/sandbox/jobs/{request}/faults").raise_for_status()
    completed(world, "busy")
    assert paid(world, "busy") == [1]


def test_an_idle_namespace_moves_and_buys_nothing(world: ClusterWorld, second: ClusterWorld) -> None:
    """Move to an installation with other stores: it does not know the resources, and it pays nothing for them."""
    before = (len(world.billed()), len(second.billed()))
    states = {resource["metadata"]["name"]: resource["status"]["phase"] for resource in world.resources()}
    said = move(world, "--all", "--to", SECOND)
    assert "Nothing is paid again" in said
    assert {class_of(resource) for resource in world.resources()} == {SECOND}
    second.kubectl("get", "pods")
    OWN_STORES.kubectl("rollout", "restart", "deployment/contentgen")
    OWN_STORES.kubectl("rollout", "status", "deployment/contentgen", "--timeout=90s")
    time.sleep(5)  # several reconciles after the operator's start and its initial list
    assert {resource["metadata"]["name"]: resource["status"]["phase"] for resource in world.resources()} == states
    assert (len(world.billed()), len(second.billed())) == before
    move(world, "--all", "--to", DEFAULT_CLASS)
    assert (len(world.billed()), len(second.billed())) == before


# The end of one


def test_an_uninstall_leaves_the_resources_of_the_other_alone(world: ClusterWorld, second: ClusterWorld) -> None:
    """Both classes have a resource with a finalizer and deletionPolicy Delete."""
    fault = {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "stuck", "count": 1}
    for each in (world, second):
        each.sandbox.put("/sandbox/faults", json=[fault]).raise_for_status()
    delete = {"deletionPolicy": "Delete"}
    world.apply(KIND, "held", spec("held", **delete))
    world.apply(KIND, "theirs", spec("theirs", SECOND, **delete))
    for name in ("held", "theirs"):
        world.wait(KIND, name, lambda s: s.get("phase") == "Processing")
    request = world.get(KIND, "held")["status"]["run"]["requestId"]
    tell(f"uninstalled beside another release in {OWN_STORES.uninstall():.1f} s")
    assert FINALIZER in world.get(KIND, "held")["metadata"]["finalizers"]
    assert FINALIZER not in world.get(KIND, "theirs")["metadata"].get("finalizers", [])
    assert DEFAULT_CLASS in classes()
    assert SECOND not in classes()
    world.sandbox.delete(f"/sandbox/jobs/{request}/faults").raise_for_status()
    completed(world, "held")
    assert paid(world, "held", "theirs") == [1, 0]
