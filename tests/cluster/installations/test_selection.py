"""Changes of an installation's watched namespaces: all, a list, a shorter list, labels.

Resources of removed namespaces are released, can be deleted without the operator, and are not paid again on return.

The main release gets other values while this runs, and loses them at the end.
"""

import json
from collections.abc import Iterator

import pytest

from contentgen_cluster import release
from contentgen_contract.names import FINALIZER, Kind
from contentgen_e2e.settings import KEYS, ROOT
from contentgen_e2e.world import Body, ClusterWorld, until

KIND = Kind.IMAGE_GENERATION
LABEL = "contentgen.dev/test-selection"
MODEL = "fal-ai/flux/dev"
SLOW = {"provider": "fal", "model": MODEL, "fault": "slow_model", "count": 1, "delay_s": 180}
"""Fault that makes the next request outlast the change of the values."""


class Place:
    """Additional namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        release.make_namespace(ROOT, name)

    def kubectl(self, *args: str, stdin: Body | None = None) -> str:
        return release.kubectl(ROOT, "--namespace", self.name, *args, stdin=json.dumps(stdin) if stdin else None)

    def apply(self, name: str, policy: str = "Retain") -> None:
        image = {"size": {"width": 512, "height": 384}}
        spec = {"model": "flux-dev", "prompt": f"{self.name} {name}", "image": image, "deletionPolicy": policy}
        meta = {"name": name, "namespace": self.name}
        self.kubectl("apply", "--filename", "-", stdin={
            "apiVersion": "contentgen.dev/v1alpha1", "kind": KIND, "metadata": meta, "spec": spec,
        })  # fmt: skip

    def until(self, name: str, phase: str, seconds: int = 120) -> None:
        wanted = f"--for=jsonpath={{.status.phase}}={phase}"
        self.kubectl("wait", f"{KIND.lower()}/{name}", wanted, f"--timeout={seconds}s")

    def read(self, name: str) -> Body:
        found: Body = json.loads(self.kubectl("get", f"{KIND.lower()}/{name}", "--output", "json"))
        return found

    def is_held(self, name: str) -> bool:
        return FINALIZER in self.read(name)["metadata"].get("finalizers", ())

    def delete(self, name: str) -> None:
        self.kubectl("delete", KIND.lower(), name, "--timeout=20s")


@pytest.fixture
def place(world: ClusterWorld) -> Iterator[Place]:
    made = Place(f"{world.namespace}-leaves")
    yield made
    release.install(ROOT, *KEYS)
    release.kubectl(ROOT, "delete", "namespace", made.name, "--timeout=90s")


def pod_uids() -> set[str]:
    """Uids of the operator pods, without terminating pods of an earlier rollout."""
    chosen = ("--selector", "app.kubernetes.io/component=operator")
    listed = release.kubectl(ROOT, "--namespace", release.NAMESPACE, "get", "pods", *chosen, "--output", "json")
    found = [resource["metadata"] for resource in json.loads(listed)["items"]]
    return {each["uid"] for each in found if "deletionTimestamp" not in each}


def paid(world: ClusterWorld, place: Place) -> int:
    return world.ledger_collection.count_documents({"namespace": place.name, "requestId": {"$ne": None}})


def test_namespaces_leave_are_released_and_come_back(world: ClusterWorld, place: Place) -> None:
    place.apply("idle", "Delete")
    place.until("idle", "Completed")
    place.apply("gone", "Delete")
    place.until("gone", "Completed")
    world.sandbox.put("/sandbox/faults", json=[SLOW]).raise_for_status()
    place.apply("flying", "Delete")
    place.until("flying", "Processing")
    assert all(place.is_held(each) for each in ("idle", "gone", "flying"))

    # All → a list with both namespaces and a missing one: nothing is released.
    both = f"watchNamespaces={{{world.namespace},{place.name},there-is-none}}"
    said = release.install(ROOT, *KEYS, both)
    assert "the namespace there-is-none of watchNamespaces does not exist" in said
    assert all(place.is_held(each) for each in ("idle", "gone", "flying"))
    place.apply("listed")
    place.until("listed", "Completed")

    # → A shorter list: the removed namespace is released, and the operator loses its rights there.
    release.install(ROOT, *KEYS, f"watchNamespaces={{{world.namespace}}}")
    assert not any(place.is_held(each) for each in ("idle", "gone", "flying"))
    place.delete("gone")
    place.apply("waits")
    world.apply(KIND, "selected", {"model": "flux-schnell", "prompt": "selected"})
    assert world.wait_for_end(KIND, "selected")["status"]["phase"] == "Completed"
    assert "phase" not in place.read("waits").get("status", {})

    # → Labels, which the namespace gets a moment later: the paid run continues.
    release.install(ROOT, *KEYS, f"watchNamespaceSelector.matchLabels.{LABEL.replace('.', chr(92) + '.')}=yes")
    before = pod_uids()
    release.kubectl(ROOT, "label", "namespace", place.name, f"{LABEL}=yes")
    place.until("waits", "Completed")
    assert pod_uids() == before, "nothing was started anew"
    until(lambda: place.is_held("idle"), "a finished one is held again, for its files", 30)

    # Without the label: the leader releases the namespace and follows the purchase in the ledger.
    release.kubectl(ROOT, "label", "namespace", place.name, f"{LABEL}-")
    until(lambda: not any(place.is_held(each) for each in ("idle", "flying")), "released", 30)
    place.delete("idle")
    place.apply("later")
    release.kubectl(ROOT, "label", "namespace", place.name, f"{LABEL}=yes")
    place.until("later", "Completed")
    place.until("flying", "Completed", 300)
    assert paid(world, place) == 6, "idle, gone, flying, listed, waits, later: once each"
