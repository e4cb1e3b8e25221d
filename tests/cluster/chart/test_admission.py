"""Admission of foreign user ids by the real API server, for callers who may only edit resources."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from contentgen_cluster.release import CommandFailed
from contentgen_e2e.world import ClusterWorld

WRITER = "somebody@example.com"
WAITS = {"prompt": "x", "model": "flux-lora", "loras": [{"loraRef": {"name": "none"}}], "suspend": True}


def grant(world: ClusterWorld, name: str, to: str, rule: dict[str, list[str]]) -> None:
    """Create a Role and its binding, from a manifest: `kubectl create role` accepts only served verbs and resources."""
    common = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    role = common | {"kind": "Role", "rules": [{"apiGroups": ["contentgen.dev"]} | rule]}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": to}
    binding = common | {"kind": "RoleBinding", "roleRef": reference, "subjects": [subject]}
    both = {"apiVersion": "v1", "kind": "List", "items": [role, binding]}
    world.kubectl("apply", "--filename", "-", stdin=json.dumps(both))


@pytest.fixture(scope="module")
def writer(world: ClusterWorld) -> Iterator[str]:
    """Account that may write our resources in the test's namespace."""
    grant(world, "writer", WRITER, {"resources": ["imagegenerations"], "verbs": ["*"]})
    yield WRITER
    world.kubectl("delete", "role,rolebinding", "--all")


def apply(world: ClusterWorld, writer: str, user_id: str | None, **more: Any) -> None:
    spec = WAITS | more | ({"userId": user_id} if user_id is not None else {})
    meta = {"name": "owned", "namespace": world.namespace}
    body = {"apiVersion": "contentgen.dev/v1alpha1", "kind": "ImageGeneration", "metadata": meta, "spec": spec}
    world.kubectl("apply", f"--as={writer}", "--filename", "-", stdin=json.dumps(body))


def refused(world: ClusterWorld, writer: str, user_id: str, **more: Any) -> None:
    with pytest.raises(CommandFailed) as caught:
        apply(world, writer, user_id, **more)
    message = str(caught.value)
    assert f'spec.userId is "{user_id}", and must be the namespace ("{world.namespace}")' in message
    assert f"{writer} has the verb use on userids.contentgen.dev" in message


def test_naming_another_user_needs_a_right(world: ClusterWorld, writer: str) -> None:
    refused(world, writer, "user-123")
    apply(world, writer, None)
    refused(world, writer, "user-123")
    apply(world, writer, world.namespace)
    grant(world, "user-123", writer, {"resources": ["userids"], "resourceNames": ["user-123"], "verbs": ["use"]})
    apply(world, writer, "user-123")
    refused(world, writer, "user-1234")
    world.kubectl("delete", "rolebinding", "user-123")
    apply(world, writer, "user-123", prompt="an edit that leaves the user alone")
    refused(world, writer, "another")
    # The policy does not apply to the operator's own writes: the status gets a condition.
    world.kubectl("wait", "imagegeneration/owned", "--for=condition=Suspended", "--timeout=60s")
    world.kubectl("delete", "imagegeneration", "owned")


def test_an_administrator_may(world: ClusterWorld) -> None:
    world.apply("ImageGeneration", "by-admin", WAITS | {"userId": "user-123"})
    world.kubectl("delete", "imagegeneration", "by-admin")


def test_user_named_in_another_class_is_checked_at_the_move(world: ClusterWorld, writer: str) -> None:
    """No policy applies to a class without an installation."""
    apply(world, writer, "user-9", operatorClass="nobodys")
    refused(world, writer, "user-9", operatorClass="default")
    apply(world, writer, world.namespace, operatorClass="default")
    world.kubectl("delete", "imagegeneration", "owned")


def test_moved_paid_annotation_needs_the_verb_spend(world: ClusterWorld) -> None:
    """The annotation is untrusted: the former class had no policy, so any editor could have added it."""
    editor = "editor@example.com"
    verbs = ["get", "create", "update", "patch", "delete"]
    grant(world, "editor", editor, {"resources": ["imagegenerations"], "verbs": verbs})
    meta = {"name": "moved", "namespace": world.namespace, "annotations": {"contentgen.dev/rerun": "1"}}
    body = {"apiVersion": "contentgen.dev/v1alpha1", "kind": "ImageGeneration", "metadata": meta}
    elsewhere = json.dumps(body | {"spec": WAITS | {"operatorClass": "nobodys"}})
    here = json.dumps(body | {"spec": WAITS | {"operatorClass": "default"}})
    world.kubectl("apply", f"--as={editor}", "--filename", "-", stdin=elsewhere)
    with pytest.raises(CommandFailed, match="has not the verb spend"):
        world.kubectl("apply", f"--as={editor}", "--filename", "-", stdin=here)
    world.kubectl("annotate", f"--as={editor}", "imagegeneration", "moved", "contentgen.dev/rerun-")
    del meta["annotations"]
    here = json.dumps(body | {"spec": WAITS | {"operatorClass": "default"}})
    world.kubectl("apply", f"--as={editor}", "--filename", "-", stdin=here)
    world.kubectl("delete", "imagegeneration", "moved")
    world.kubectl("delete", "role,rolebinding", "editor")


def test_waiting_run_cannot_move_to_a_class_of_other_policies(world: ClusterWorld) -> None:
    """An editor could approve it there. An approval that was set before the run waited has no effect."""
    world.apply("ImageGeneration", "waits", {"prompt": "x", "model": "flux-dev", "approval": "Manual"})
    world.wait("ImageGeneration", "waits", lambda status: status.get("phase") == "AwaitingApproval")
    moved = json.dumps({"spec": {"operatorClass": "nobodys"}})
    with pytest.raises(CommandFailed, match="operatorClass must not change during a run"):
        world.kubectl("patch", "imagegeneration", "waits", "--type=merge", "--patch", moved)
    world.kubectl("delete", "imagegeneration", "waits")
