"""Webhooks on the real cluster: signatures, receivers that fail, forbidden addresses, a killed operator, the log."""

import base64
import json
import time
from datetime import datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from contentgen_cluster import release
from contentgen_contract.names import API_VERSION
from contentgen_e2e.gateway import Gateway, GatewayTenant, eventually
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import ClusterWorld

Body = dict[str, Any]
KIND = "ImageGeneration"


def pictures(*urls: str) -> Body:
    notify = [{"url": url} for url in urls]
    return {"model": "flux-dev", "prompt": "a cat", "image": {"size": {"width": 512, "height": 384}}, "notify": notify}


def hook(name: str, query: str = "") -> str:
    return f"{release.SANDBOX}/hooks/{name}" + (f"?{query}" if query else "")


def received(world: ClusterWorld, name: str) -> list[Body]:
    listed: list[Body] = world.sandbox.get(f"/hooks/{name}").raise_for_status().json()
    return listed


def stored(world: ClusterWorld, uid: str) -> list[Body]:
    return list(world.jobs.database["notifications"].find({"jobId": uid}))


def verify(message: Body, keys: list[Body]) -> None:
    """Raises InvalidSignature unless one of the keys has signed the message."""
    headers = message["headers"]
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{message['body']}".encode()
    (signature,) = headers["webhook-signature"].split()
    version, _, value = signature.partition(",")
    assert version == "v1a"
    public = base64.urlsafe_b64decode(keys[0]["x"] + "=")
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(value), content)


def test_completed_job_is_notified_once_with_a_valid_signature(
    world: ClusterWorld, gateway: Gateway, ann: GatewayTenant
) -> None:
    order = {"userId": ann.user, "prompt": "a cat", "model": "flux-dev", "webhookUrl": hook("signed")}
    job_id = ann.ask("/api/images/generate", order)["jobId"]
    assert ann.finished(job_id)["status"] == "completed"
    assert eventually(lambda: bool(received(world, "signed")))
    # The kubelet updates the gateway's volume within two minutes.
    published = ann.api.get("/.well-known/contentgen-webhooks.json")
    assert eventually(lambda: ann.api.get("/.well-known/contentgen-webhooks.json").is_success, 150), published.text
    (message,) = received(world, "signed")
    verify(message, ann.get("/.well-known/contentgen-webhooks.json")["keys"])
    body = json.loads(message["body"])
    assert body["type"] == "job.completed"
    assert (body["data"]["uid"], body["data"]["run"], body["data"]["phase"]) == (job_id, 1, "Completed")
    (logged,) = ann.get(f"/api/jobs/{job_id}/notifications")["notifications"]
    assert (logged["state"], logged["notificationId"]) == ("delivered", message["headers"]["webhook-id"])
    ann.ask(f"/api/jobs/{job_id}/notifications/{logged['notificationId']}/resend")
    assert eventually(lambda: len(received(world, "signed")) == 2)
    (name,) = [resource["metadata"]["name"] for resource in world.resources() if resource["metadata"]["uid"] == job_id]
    access = {"CONTENTGEN_GATEWAY": gateway.url, "CONTENTGEN_TOKEN": ann.token}
    assert logged["notificationId"] in world.plugin("notifications", name, **access)
    world.plugin("notifications", name, "--resend", logged["notificationId"], **access)
    assert eventually(lambda: len(received(world, "signed")) == 3)
    for again in received(world, "signed")[1:]:
        assert (again["body"], again["headers"]["webhook-id"]) == (message["body"], logged["notificationId"])


def test_an_unquoted_on_is_the_key_true_for_kubectl(world: ClusterWorld) -> None:
    spec = release.of_class(pictures(hook("unquoted")))
    spec["notify"] = [{"url": hook("unquoted"), "on": ["Completed"]}]
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "unquoted"}, "spec": spec}
    manifest = json.dumps(body).replace('"on"', "on")  # JSON is YAML, apart from this key
    world.kubectl("apply", "--filename", "-", stdin=manifest)
    assert world.get(KIND, "unquoted")["spec"]["notify"][0]["true"] == ["Completed"]
    world.wait_for_end(KIND, "unquoted")
    assert eventually(lambda: len(received(world, "unquoted")) == 1)


def test_receivers_that_fail_delay_no_job_and_lose_nothing(world: ClusterWorld) -> None:
    """The slow one has the request for longer than an attempt lasts."""
    slow, down, gone = urls = (hook("slow", "seconds=60"), hook("down", "fails=2"), hook("gone", "status=410"))
    uid = world.apply(KIND, "failing", pictures(*urls))
    ended = datetime.fromisoformat(world.wait_for_end(KIND, "failing")["status"]["completionTime"])
    world.apply(KIND, "beside", pictures())
    assert world.wait_for_end(KIND, "beside")["status"]["phase"] == "Completed"
    assert eventually(lambda: len(received(world, "down")) == 3, 90)
    assert len({each["headers"]["webhook-id"] for each in received(world, "down")}) == 1

    def by_url() -> dict[str, Body]:
        return {each["url"]: each for each in stored(world, uid)}

    states = {slow: "pending", down: "delivered", gone: "gone"}
    assert eventually(lambda: {url: each["state"] for url, each in by_url().items()} == states), by_url()
    assert eventually(lambda: bool(by_url()[slow]["deliveries"]), 90)
    found = by_url()
    assert found[slow]["state"] == "pending"
    first = found[slow]["deliveries"][0]
    assert (first["result"], first["status"]) == ("failed", None)
    assert received(world, "slow")[0]["headers"]["webhook-id"] == found[slow]["_id"]
    assert [delivery["result"] for delivery in found[down]["deliveries"]] == ["failed", "failed", "delivered"]
    for url in urls:
        assert ended <= found[url]["deliveries"][0]["at"], "the job had ended before the first attempt"


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("redirect", hook("redirect", "status=307&to=http://{ip}/hooks/forbidden-redirect")),
        ("private-ip", "http://{ip}/hooks/forbidden-private-ip"),
        (
            "private-name",
            f"http://contentgen-sandbox.{release.NAMESPACE}.svc.cluster.local/hooks/forbidden-private-name",
        ),
        ("api-server", "http://kubernetes.default.svc/hook"),
        ("metadata", "http://169.254.169.254/latest"),
        ("loopback", "http://0x7f.1:8080/healthz"),
    ],
)
def test_a_forbidden_address_is_not_reached(world: ClusterWorld, name: str, url: str) -> None:
    """The receiver of the other tests listens at the private address too, and counts the requests there.

    The operator may send to its name, and to no other name or address of it.
    """
    where = ("--namespace", release.NAMESPACE, "get", "service", "contentgen-sandbox", "--output")
    url = url.format(ip=release.kubectl(ROOT, *where, "jsonpath={.spec.clusterIP}"))
    uid = world.apply(KIND, name, pictures(url))
    world.wait_for_end(KIND, name)
    assert eventually(lambda: any(each["deliveries"] for each in stored(world, uid)))
    (found,) = stored(world, uid)
    assert found["state"] == "pending"
    assert found["deliveries"][0]["result"] == ("failed" if name == "redirect" else "refused")
    assert received(world, f"forbidden-{name}") == []
    assert bool(received(world, name)) is (name == "redirect"), "the receiver that redirects was reached"


def test_a_killed_operator_loses_no_notification(world: ClusterWorld) -> None:
    """It is killed as soon as the resource is Completed."""
    names = [f"killed-{number}" for number in range(3)]
    for name in names:
        world.apply(KIND, name, pictures(hook(name)))
    world.wait(KIND, names[0], lambda status: status.get("phase") == "Completed")
    world.kill_operator()
    for name in names:
        world.wait_for_end(KIND, name)
    deadline = time.monotonic() + 240  # an interrupted attempt is repeated after two minutes
    while any(not received(world, name) for name in names) and time.monotonic() < deadline:
        time.sleep(1)
    for name in names:
        assert len({each["headers"]["webhook-id"] for each in received(world, name)}) == 1
