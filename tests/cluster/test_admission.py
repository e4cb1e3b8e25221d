"""Who may name another user: decided by the real API server, for people who may edit resources and nothing else."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from contentgen_cluster.release import CommandFailed
from contentgen_e2e.world import World

WRITER = "somebody@example.com"
WAITS = {"prompt": "x", "model": "flux-lora", "loras": [{"loraRef": {"name": "none"}}], "suspend": True}


def create(world: World, *args: str) -> None:
    world.kubectl("create", *args)


@pytest.fixture(scope="module")
def writer(world: World) -> Iterator[str]:
    """Somebody who may write our resources in the test's namespace."""
    create(world, "role", "writer", "--verb=*", "--resource=imagegenerations.contentgen.dev")
    create(world, "rolebinding", "writer", "--role=writer", f"--user={WRITER}")
    yield WRITER
    world.kubectl("delete", "role,rolebinding", "--all")


def apply(world: World, writer: str, user_id: str | None, **more: Any) -> None:
    spec = WAITS | more | ({"userId": user_id} if user_id is not None else {})
    meta = {"name": "owned", "namespace": world.namespace}
    body = {"apiVersion": "contentgen.dev/v1alpha1", "kind": "ImageGeneration", "metadata": meta, "spec": spec}
    world.kubectl("apply", f"--as={writer}", "--filename", "-", stdin=json.dumps(body))


def refused(world: World, writer: str, user_id: str, **more: Any) -> None:
    with pytest.raises(CommandFailed) as caught:
        apply(world, writer, user_id, **more)
    message = str(caught.value)
    assert f'spec.userId is "{user_id}", and must be the namespace ("{world.namespace}")' in message
    assert f"{writer} has the verb use on userids.contentgen.dev" in message


def test_who_may_name_another_user(world: World, writer: str) -> None:
    refused(world, writer, "user-123")
    apply(world, writer, None)
    refused(world, writer, "user-123")
    apply(world, writer, world.namespace)
    grant = ("--verb=use", "--resource=userids.contentgen.dev", "--resource-name=user-123")
    create(world, "role", "user-123", *grant)
    create(world, "rolebinding", "user-123", "--role=user-123", f"--user={writer}")
    apply(world, writer, "user-123")
    refused(world, writer, "user-1234")
    world.kubectl("delete", "rolebinding", "user-123")
    apply(world, writer, "user-123", prompt="an edit that leaves the user alone")
    refused(world, writer, "another")
    # The operator's own writes are not concerned: the status says what it waits for.
    world.kubectl("wait", "imagegeneration/owned", "--for=condition=Suspended", "--timeout=60s")
    world.kubectl("delete", "imagegeneration", "owned")


def test_an_administrator_may(world: World) -> None:
    world.apply("ImageGeneration", "by-admin", WAITS | {"userId": "user-123"})
    world.kubectl("delete", "imagegeneration", "by-admin")
