"""Objects that kubectl sends in protobuf: `create namespace`, `create secret`, `create token`, `auth can-i`."""

import base64
import random
from typing import Any

import httpx
import pytest

from contentgen_try.api_server.web.protobuf import NotDecoded, decoded

PROTOBUF = {"Content-Type": "application/vnd.kubernetes.protobuf"}


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(found) + bytes([value])


def message(*fields: tuple[int, int | bytes | str]) -> bytes:
    """A message in the wire format."""
    found = b""
    for number, value in fields:
        if isinstance(value, int):
            found += varint(number << 3) + varint(value)
        else:
            content = value.encode() if isinstance(value, str) else value
            found += varint(number << 3 | 2) + varint(len(content)) + content
    return found


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    about = message((1, api_version), (2, kind))
    return b"k8s\x00" + message((1, about), (2, raw), (3, ""), (4, ""))


SECRET = envelope(
    "v1",
    "Secret",
    message(
        (1, message((1, "s"), (2, ""), (3, ""), (11, message((1, "k"), (2, "v"))), (14, "a.b/c"))),
        (2, message((1, "key"), (2, b"\x00\xff"))),
        (3, "Opaque"),
    ),
)
TOKEN = envelope(
    "authentication.k8s.io/v1",
    "TokenRequest",
    message((2, message((1, "contentgen-gateway"), (4, 3600)))),
)


def test_values() -> None:
    assert decoded(SECRET) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "labels": {"k": "v"}, "finalizers": ["a.b/c"]},
        "data": {"key": base64.b64encode(b"\x00\xff").decode()},
        "type": "Opaque",
    }
    assert decoded(TOKEN)["spec"] == {"audiences": ["contentgen-gateway"], "expirationSeconds": 3600}
    options = decoded(envelope("v1", "DeleteOptions", message((1, -1), (2, message((1, "u"))), (5, "All"))))
    assert (options["gracePeriodSeconds"], options["preconditions"], options["dryRun"]) == (-1, {"uid": "u"}, ["All"])


@pytest.mark.parametrize("content", [SECRET, TOKEN])
def test_damaged_content_is_an_object_or_an_error(content: bytes) -> None:
    chance = random.Random(1)  # noqa: S311 - no secret
    refused = 0
    for _ in range(3000):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(4, len(damaged))] = chance.randrange(256)
        try:
            assert isinstance(decoded(bytes(damaged[: chance.randint(4, len(damaged))])), dict)
        except NotDecoded:
            refused += 1
    assert refused > 1000
    with pytest.raises(NotDecoded):
        decoded(b"{}")


async def test_protobuf_objects_are_created(api: httpx.AsyncClient) -> None:
    made = await api.post("/api/v1/namespaces/default/secrets", content=SECRET, headers=PROTOBUF)
    assert (made.status_code, made.json()["data"]) == (201, {"key": "AP8="})
    path = "/api/v1/namespaces/contentgen/serviceaccounts/contentgen-user/token"
    token = await api.post(path, content=TOKEN, headers=PROTOBUF)
    assert (token.status_code, bool(token.json()["status"]["token"])) == (201, True)
    namespace = envelope("v1", "Namespace", message((1, message((1, "team")))))
    assert (await api.post("/api/v1/namespaces", content=namespace, headers=PROTOBUF)).status_code == 201
    wanted: Any = message((2, message((1, message((2, "get"), (5, "pods"))))))
    review = envelope("authorization.k8s.io/v1", "SelfSubjectAccessReview", wanted)
    answer = await api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", content=review, headers=PROTOBUF)
    assert answer.json()["status"]["allowed"] is True
    assert answer.json()["spec"]["resourceAttributes"] == {"verb": "get", "resource": "pods"}
