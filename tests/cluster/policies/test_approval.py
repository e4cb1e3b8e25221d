"""Approvals on the real cluster: nothing is paid before an approval that the admission policy admits, and then once.

All resources of the module are applied at once, and wait while the tests look at them one after another.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from contentgen_cluster import release
from contentgen_contract.names import APPROVAL_LABEL, Kind
from contentgen_e2e.gateway import GatewayTenant
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import Body, ClusterWorld

PICTURE, LORA = Kind.IMAGE_GENERATION, Kind.LORA_TRAINING
APPROVER, EDITOR = "approver@example.com", "editor@example.com"
APPROVE, BY = "contentgen.dev/approve", "contentgen.dev/approved-by"
RBAC = "rbac.authorization.k8s.io"


def picture(prompt: str, **more: Any) -> Body:
    image = {"size": {"width": 256, "height": 256}}
    return {"model": "flux-dev", "prompt": prompt, "image": image, "approval": "Manual"} | more


def role(name: str, subject: Body, *verbs: str) -> list[Body]:
    """Role on pictures, and its binding."""
    common: Body = {"apiVersion": f"{RBAC}/v1", "metadata": {"name": name}}
    rules = [{"apiGroups": ["contentgen.dev"], "resources": [PICTURE.plural], "verbs": list(verbs)}]
    reference = {"apiGroup": RBAC, "kind": "Role", "name": name}
    binding = common | {"kind": "RoleBinding", "roleRef": reference, "subjects": [subject]}
    return [common | {"kind": "Role", "rules": rules}, binding]


@pytest.fixture(scope="module")
def uids(world: ClusterWorld, film: str, bob: GatewayTenant) -> Iterator[dict[str, str]]:
    """The uids of the resources by name. `bob` may approve here through the gateway, and `ann` may not."""
    users = {name: {"apiGroup": RBAC, "kind": "User", "name": name} for name in (APPROVER, EDITOR)}
    person = {"kind": "ServiceAccount", "name": "person", "namespace": bob.namespace}
    roles = [
        *role("approver", users[APPROVER], "get", "patch", "approve"),
        *role("editor", users[EDITOR], "get", "patch"),
        *role("from-elsewhere", person, "get", "patch", "approve"),
    ]
    listed = {"apiVersion": "v1", "kind": "List", "items": roles}
    world.kubectl("apply", "--filename", "-", stdin=json.dumps(listed))
    training = {
        "loraName": "approved", "triggerWord": "ap", "source": {"url": film}, "training": {"steps": 500},
        "dataset": {"minImages": 8, "maxImages": 10}, "approval": "Manual",
    }  # fmt: skip
    early = {APPROVE: "1-0.025", BY: APPROVER}
    yield {
        "training": world.apply(LORA, "training", training),
        "early": world.apply(PICTURE, "early", picture("an approval in the manifest"), early),
        "edited": world.apply(PICTURE, "edited", picture("the inputs before the edit")),
        "estimated": world.apply(PICTURE, "estimated", picture("only the price", dryRun="Estimate")),
    }
    world.kubectl("delete", PICTURE.value.lower(), "early", "edited", "estimated", "--ignore-not-found")


def waiting(world: ClusterWorld, name: str, run: int = 1, kind: Kind = PICTURE) -> Body:
    """Status of a resource whose run with this number waits."""
    body = world.wait(
        kind, name, lambda s: s.get("phase") == "AwaitingApproval" and (s.get("run") or {}).get("number") == run
    )
    status: Body = body["status"]
    return status


def paid(world: ClusterWorld, uid: str) -> list[str]:
    """Requests that the ledger has for a resource, each of which must be billed exactly once."""
    requests = [purchase.get("requestId") for purchase in world.ledger_collection.find({"jobId": uid})]
    billed = [purchase["request_id"] for purchase in world.billed()]
    assert [billed.count(request) for request in requests] == [1] * len(requests)
    return [str(request) for request in requests]


def annotate(world: ClusterWorld, user: str, name: str, *annotations: str) -> str:
    return world.kubectl("annotate", f"--as={user}", "--overwrite", PICTURE.value.lower(), name, *annotations)


def test_a_run_waits_with_its_price_unpaid(world: ClusterWorld, uids: dict[str, str]) -> None:
    status = waiting(world, "edited")
    price = "about 0.0250 USD, at most 0.025 USD"
    assert status["message"].startswith(f"run 1 waits for an approval: {price}; nothing is paid before")
    assert status["cost"]["estimated"] == "0.0250"
    assert paid(world, uids["edited"]) == []


@pytest.mark.parametrize(
    ("user", "annotations", "says"),
    [
        (EDITOR, (f"{APPROVE}=1", f"{BY}={EDITOR}"), f"{EDITOR} has not the verb approve"),
        (EDITOR, ("contentgen.dev/reject=1", f"{BY}={EDITOR}"), f"{EDITOR} has not the verb approve"),
        (APPROVER, (f"{APPROVE}=1", f"{BY}={EDITOR}"), f'is "{EDITOR}"; expected "{APPROVER}"'),
        (APPROVER, (f"{APPROVE}=1",), f'is ""; expected "{APPROVER}"'),
        (APPROVER, (f"{APPROVE}=2", f"{BY}={APPROVER}"), 'is "2"; expected "1" or "1-ANYTHING"'),
    ],
)
def test_the_admission_policy_refuses_an_approval(
    world: ClusterWorld, uids: dict[str, str], user: str, annotations: tuple[str, ...], says: str
) -> None:
    waiting(world, "edited")
    with pytest.raises(release.CommandFailed) as caught:
        annotate(world, user, "edited", *annotations)
    assert says in str(caught.value)
    assert paid(world, uids["edited"]) == []


def test_edit_lapses_the_approval_and_the_plugin_approves_again(world: ClusterWorld, uids: dict[str, str]) -> None:
    waiting(world, "edited")
    change = {
        "metadata": {"annotations": {APPROVE: "1-0.025", BY: APPROVER}},
        "spec": {"prompt": "the inputs after the edit"},
    }
    patch = ("--type=merge", "--patch", json.dumps(change))
    world.kubectl("patch", f"--as={APPROVER}", PICTURE.value.lower(), "edited", *patch)
    waiting(world, "edited", run=2)
    assert paid(world, uids["edited"]) == []
    assert "Run 2" in world.plugin("approve", "edited", "--yes")
    status = world.wait_for_end(PICTURE, "edited")["status"]
    assert (status["phase"], status["run"]["approval"]["verdict"]) == ("Completed", "Approved")
    assert paid(world, uids["edited"]) == [status["run"]["requestId"]]


def test_approval_in_a_manifest_lapses_and_the_gateway_approves(
    world: ClusterWorld, uids: dict[str, str], ann: GatewayTenant, bob: GatewayTenant
) -> None:
    """Its account may approve for its callers, and asks for their right first."""
    assert len(waiting(world, "early")["run"]["approval"]["lapsed"]) == 1
    path = f"/api/jobs/{uids['early']}/approve"
    refused = ann.api.post(path)
    assert refused.status_code == 403, refused.text
    assert "with the verb approve" in refused.text
    assert waiting(world, "early")["run"]["approval"].get("verdict") is None
    assert paid(world, uids["early"]) == []
    amount = waiting(world, "early")["run"]["approval"]["amount"]
    bob.ask(f"{path}?run=1&amount={amount}")
    run = world.wait_for_end(PICTURE, "early")["status"]["run"]
    assert run["approval"]["by"] == f"system:serviceaccount:{bob.namespace}:person"
    assert paid(world, uids["early"]) == [run["requestId"]]


def test_a_dry_run_ends_with_its_price_unpaid(world: ClusterWorld, uids: dict[str, str]) -> None:
    status = world.wait_for_end(PICTURE, "estimated")["status"]
    assert (status["phase"], status["reason"], status["cost"]["estimated"]) == ("Completed", "Estimated", "0.0250")
    assert paid(world, uids["estimated"]) == []


def test_the_label_of_the_namespace_requires_an_approval(world: ClusterWorld, uids: dict[str, str]) -> None:
    label = ("label", "--overwrite", "namespace", world.namespace)
    release.kubectl(ROOT, *label, f"{APPROVAL_LABEL}=Manual")
    try:
        uid = world.apply(PICTURE, "labelled", picture("by the label", approval="Automatic"))
        waiting(world, "labelled")
    finally:
        world.kubectl("delete", PICTURE.value.lower(), "labelled", "--ignore-not-found", "--timeout=60s")
        release.kubectl(ROOT, *label, f"{APPROVAL_LABEL}-")
    assert paid(world, uid) == []


def test_training_waits_with_contact_sheet_and_can_be_rejected(world: ClusterWorld, uids: dict[str, str]) -> None:
    """Last: its pictures are made while the other tests run."""
    status = waiting(world, "training", kind=LORA)
    facts = status["run"]["facts"]
    counted = f"; {facts['images']} pictures of {facts['scenes']} scenes, frames rejected: "
    assert counted in status["message"]
    listed = status["message"].partition(counted)[2].partition("; ")[0].split(", ")
    counts = sorted(facts["rejected"].items(), key=lambda each: (-each[1], each[0]))
    assert listed == [f"{count} {cause}" for cause, count in counts[:5]]
    assert all(count > 0 for _, count in counts), "the film has more scenes than maxImages"
    assert any(key.endswith("preview.jpg") for key in world.objects(uids["training"]))
    assert "is rejected; nothing is paid" in world.plugin("reject", "training")
    status = world.wait_for_end(LORA, "training")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "Rejected")
    assert paid(world, uids["training"]) == []
