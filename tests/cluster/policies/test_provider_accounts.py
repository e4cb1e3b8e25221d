"""Provider accounts on a real cluster: Secrets as folders, labels of Namespaces, and the sandbox's separate bills."""

import base64
import json
import time
from collections.abc import Iterator

import pytest

from contentgen_cluster import release
from contentgen_contract.names import ACCOUNT_LABEL, Kind
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import Body, ClusterWorld, installed

PICTURE = Kind.IMAGE_GENERATION
ACCOUNTS = (
    "providers.accounts.team-a.secret=keys-of-team-a",
    "providers.accounts.team-b.secret=keys-of-team-b",
)
STUCK = {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "stuck", "count": 1}
"""The next request never ends by itself."""


def put_keys(account: str, key: str) -> None:
    """Create or replace the Secret of an account."""
    data = {name: base64.b64encode(key.encode()).decode() for name in ("fal-key", "assemblyai-key")}
    meta = {"name": f"keys-of-{account}", "namespace": release.NAMESPACE}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data}
    release.kubectl(ROOT, "apply", "--filename", "-", stdin=json.dumps(body))


def grant(world: ClusterWorld, account: str | None) -> None:
    """Label the test's namespace; None removes the label."""
    label = f"{ACCOUNT_LABEL}={account}" if account is not None else f"{ACCOUNT_LABEL}-"
    release.kubectl(ROOT, "label", "namespace", world.namespace, label, "--overwrite")


@pytest.fixture(scope="module")
def world() -> Iterator[ClusterWorld]:
    """Release with two accounts; the Secret of team-b is missing at first."""
    release.make_namespace(ROOT, release.NAMESPACE)
    put_keys("team-a", "team-a:1")
    with installed(ROOT, "accounts", *ACCOUNTS) as opened:
        yield opened
        grant(opened, None)
        opened.sandbox.delete("/sandbox/faults").raise_for_status()
    for account in ("team-a", "team-b"):
        where = ("--namespace", release.NAMESPACE)
        release.kubectl(ROOT, *where, "delete", "secret", f"keys-of-{account}", "--ignore-not-found")


def apply(world: ClusterWorld, name: str, model: str = "flux-schnell") -> str:
    image = {"size": {"width": 256, "height": 256}, "seed": time.time_ns() % 2**31}
    return world.apply(PICTURE, name, {"model": model, "prompt": name, "image": image})


def until_no_key(world: ClusterWorld, name: str, text: str) -> Body:
    """The resource once it waits for a key, with the text in its message: labels of a namespace are read for 15 s."""

    def says(status: Body) -> bool:
        return status.get("reason") == "ProviderNotConfigured" and text in (status.get("message") or "")

    return world.wait(PICTURE, name, says, 120)


def bills(world: ClusterWorld, body: Body) -> list[str]:
    """Accounts that were billed for a resource's requests."""
    request = body["status"]["run"]["requestId"]
    return [purchase["account"] for purchase in world.billed() if purchase["request_id"] == request]


def test_each_namespace_is_billed_to_its_account(world: ClusterWorld) -> None:
    for name, account, billed in (("plain", None, ""), ("of-team-a", "team-a", "team-a"), ("named", "default", "")):
        grant(world, account)
        apply(world, name)
        body = world.wait_for_end(PICTURE, name, 180)
        assert body["status"]["phase"] == "Completed", body["status"]
        assert bills(world, body) == [billed]
        assert body["status"]["run"].get("providerAccount") == (billed or None)


def test_a_missing_secret_and_an_unknown_account_are_waited_for(world: ClusterWorld) -> None:
    for name, account, text in (("keyless", "team-b", "account team-b has no fal-key"), ("unknown", "x", "=x ")):
        grant(world, account)
        apply(world, name)
        assert "requestId" not in until_no_key(world, name, text)["status"]["run"]
    put_keys("team-b", "team-b:1")
    grant(world, "team-b")
    for name in ("keyless", "unknown"):  # the kubelet updates the folder within two minutes
        body = world.wait_for_end(PICTURE, name, 360)
        assert (body["status"]["phase"], bills(world, body)) == ("Completed", ["team-b"])


def test_open_request_keeps_its_account_when_the_label_changes(world: ClusterWorld) -> None:
    grant(world, "team-a")
    world.sandbox.put("/sandbox/faults", json=[STUCK]).raise_for_status()
    apply(world, "open", "flux-dev")
    body = world.wait(PICTURE, "open", lambda status: bool((status.get("run") or {}).get("requestId")), 60)
    grant(world, "team-b")
    world.kill_operator()
    request = body["status"]["run"]["requestId"]
    world.sandbox.delete(f"/sandbox/jobs/{request}/faults").raise_for_status()
    ended = world.wait_for_end(PICTURE, "open", 180)
    assert ended["status"]["phase"] == "Completed", ended["status"]
    assert (bills(world, ended), ended["status"]["run"]["providerAccount"]) == (["team-a"], "team-a")


def test_users_of_a_namespace_cannot_label_it(world: ClusterWorld) -> None:
    """By Kubernetes' own roles, which the control proves to be granted."""
    user, where = "accounts-user", ("--namespace", world.namespace)
    release.kubectl(ROOT, *where, "create", "rolebinding", "accounts-admin", "--clusterrole=admin", f"--user={user}")
    release.kubectl(ROOT, *where, "get", "secrets", "--as", user, "--output", "name")
    with pytest.raises(release.CommandFailed, match="orbidden"):
        release.kubectl(
            ROOT, "label", "namespace", world.namespace, f"{ACCOUNT_LABEL}=team-a", "--overwrite", "--as", user
        )


def update_files(pod: str) -> None:
    """Change the pod, which makes the kubelet update the files of its Secrets immediately."""
    marker = f"tests/look={time.time_ns()}"
    release.kubectl(ROOT, "--namespace", release.NAMESPACE, "annotate", "--overwrite", "pod", pod, marker)


def test_a_rotated_key_is_used_without_a_restart(world: ClusterWorld) -> None:
    operator = world.operator_pod()
    grant(world, "team-a")
    put_keys("team-a", "team-a:wrong")
    update_files(operator)
    time_left = time.monotonic() + 150
    for attempt in range(50):
        name = f"rotated-{attempt}"
        apply(world, name)
        status = world.wait(
            PICTURE, name, lambda s: s.get("phase") == "Completed" or s.get("reason") == "ProviderNotConfigured", 60
        )["status"]
        if status["phase"] != "Completed":
            break
        assert time.monotonic() < time_left, status
        update_files(operator)
    assert "providers.accounts.team-a" in status["message"]
    put_keys("team-a", "team-a:2")
    update_files(operator)
    body = world.wait_for_end(PICTURE, name, 360)
    assert (body["status"]["phase"], bills(world, body)) == ("Completed", ["team-a"])
    assert world.operator_pod() == operator, "nobody restarted it"
