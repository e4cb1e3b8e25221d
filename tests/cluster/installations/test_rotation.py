"""Rotation of the MongoDB and S3 Secrets of a running release: used if valid, without a restart."""

import base64
import json
import time
from collections.abc import Callable, Iterator

import pytest

from contentgen_cluster import release
from contentgen_contract.names import Kind
from contentgen_e2e.oracle import check_completed
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import Body, ClusterWorld

PROCESSES = ("operator", "gateway")
SECONDS = 120  # the kubelet writes the files, and a process looks every ten seconds
IN_USE = "{}: the Secret's new value is in use"
REFUSED = "{}: the Secret has a new value that does not work"


def kubectl(*args: str, stdin: str | None = None) -> str:
    return release.kubectl(ROOT, "--namespace", release.NAMESPACE, *args, stdin=stdin)


def pods() -> dict[str, Body]:
    """The running pods of operator and gateway by name, but for those of an earlier rollout that still end."""
    chosen = f"app.kubernetes.io/component in ({', '.join(PROCESSES)})"
    listed = json.loads(kubectl("get", "pods", "--selector", chosen, "--output", "json"))["items"]
    return {resource["metadata"]["name"]: resource for resource in listed if _stays(resource)}


def _stays(pod: Body) -> bool:
    return pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]


def restarts() -> dict[str, list[int]]:
    return {
        name: [status["restartCount"] for status in pod["status"]["containerStatuses"]] for name, pod in pods().items()
    }


class Secret:
    """A Secret of the release, whose values a test replaces."""

    def __init__(self, name: str) -> None:
        self.name = name
        data = json.loads(kubectl("get", "secret", name, "--output", "json"))["data"]
        self.values = {key: base64.b64decode(value).decode() for key, value in data.items()}

    def put(self, **values: str) -> None:
        """Replace values; annotating the pods makes the kubelet sync at once."""
        given = {key.replace("_", "-"): value for key, value in values.items()}
        patch = json.dumps({"stringData": self.values | given})
        kubectl("patch", "secret", self.name, "--patch", patch)
        kubectl("annotate", "--overwrite", "pods", *pods(), f"tests/look={time.time_ns()}")


@pytest.fixture
def restored() -> Iterator[Callable[[str], Secret]]:
    """Secrets by name; they have their first values again at the end."""
    taken: list[Secret] = []

    def take(name: str) -> Secret:
        taken.append(Secret(name))
        return taken[-1]

    yield take
    for each in taken:
        each.put()


def all_say(text: str) -> None:
    """Wait until the log of every process contains the text."""
    deadline = time.monotonic() + SECONDS
    while silent := [name for name in pods() if text not in kubectl("logs", name)]:
        assert time.monotonic() < deadline, f"not logged by {silent}: {text}"
        time.sleep(2)


def test_rotated_store_secrets_are_used_unless_they_are_wrong(
    world: ClusterWorld, restored: Callable[[str], Secret]
) -> None:
    before = restarts()
    mongodb, storage = restored("contentgen-mongodb"), restored("contentgen-storage")
    uri = mongodb.values["uri"]
    mongodb.put(uri=f"{uri}{'&' if '?' in uri else '?'}appName=rotated")
    storage.put(secret_access_key="of-another-store")
    all_say(IN_USE.format("MongoDB"))
    all_say(REFUSED.format("S3"))
    spec = {"model": "flux-dev", "prompt": "rotated", "image": {"size": {"width": 256, "height": 256}}}
    world.apply(Kind.IMAGE_GENERATION, "rotated", spec)
    world.wait_for_end(Kind.IMAGE_GENERATION, "rotated")
    check_completed(world, Kind.IMAGE_GENERATION, "rotated")
    assert restarts() == before
    assert not any("of-another-store" in kubectl("logs", name) for name in pods())
