"""Objects in Kubernetes' protobuf encoding, of the few kinds that kubectl sends so: `create namespace`, `create token`,
`auth can-i` and the like. All other kinds, and all responses, are JSON. Pure.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

Body = dict[str, Any]
Fields = Mapping[int, tuple[str, Any]]
"""Name and type by number. A type is `str`, `bytes`, `int`, `bool`, a message's fields, or a list or a map of one."""
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_MAP_OF_TEXTS, _MAP_OF_BYTES = {str: str}, {str: bytes}

_OWNER: Fields = {1: ("kind", str), 3: ("name", str), 4: ("uid", str), 5: ("apiVersion", str), 6: ("controller", bool),
                  7: ("blockOwnerDeletion", bool)}  # fmt: skip
_METADATA: Fields = {
    1: ("name", str), 2: ("generateName", str), 3: ("namespace", str), 5: ("uid", str), 6: ("resourceVersion", str),
    11: ("labels", _MAP_OF_TEXTS), 12: ("annotations", _MAP_OF_TEXTS), 13: ("ownerReferences", [_OWNER]),
    14: ("finalizers", [str]),
}  # fmt: skip
_OBJECT: Fields = {1: ("metadata", _METADATA)}
_BOUND: Fields = {1: ("kind", str), 2: ("apiVersion", str), 3: ("name", str), 4: ("uid", str)}
_TOKEN: Fields = {1: ("audiences", [str]), 3: ("boundObjectRef", _BOUND), 4: ("expirationSeconds", int)}
_RESOURCE: Fields = {1: ("namespace", str), 2: ("verb", str), 3: ("group", str), 4: ("version", str),
                     5: ("resource", str), 6: ("subresource", str), 7: ("name", str)}  # fmt: skip
_ACCESS: Fields = {
    1: ("resourceAttributes", _RESOURCE),
    2: ("nonResourceAttributes", {1: ("path", str), 2: ("verb", str)}),
}
_PRECONDITIONS: Fields = {1: ("uid", str), 2: ("resourceVersion", str)}
_KINDS: Mapping[str, Fields] = {
    "Namespace": _OBJECT,
    "ServiceAccount": _OBJECT,
    "SelfSubjectReview": _OBJECT,
    "ConfigMap": {**_OBJECT, 2: ("data", _MAP_OF_TEXTS), 3: ("binaryData", _MAP_OF_BYTES), 4: ("immutable", bool)},
    "Secret": {**_OBJECT, 2: ("data", _MAP_OF_BYTES), 3: ("type", str), 4: ("stringData", _MAP_OF_TEXTS),
               5: ("immutable", bool)},
    "TokenRequest": {**_OBJECT, 2: ("spec", _TOKEN)},
    "SelfSubjectAccessReview": {**_OBJECT, 2: ("spec", _ACCESS)},
    "SelfSubjectRulesReview": {**_OBJECT, 2: ("spec", {1: ("namespace", str)})},
    "DeleteOptions": {1: ("gracePeriodSeconds", int), 2: ("preconditions", _PRECONDITIONS),
                      4: ("propagationPolicy", str), 5: ("dryRun", [str])},
}  # fmt: skip
"""Fields by kind, from the generated.proto files of Kubernetes; fields that this server does not read are left out."""


class NotDecoded(Exception):
    """Content that is no object of a kind that this server decodes."""


def decoded(content: bytes) -> Body:
    """The object as JSON. Raises NotDecoded."""
    if not content.startswith(_MAGIC):
        raise NotDecoded("the body has no Kubernetes protobuf prefix")
    envelope = _message(
        content[len(_MAGIC) :], {1: ("type", {1: ("apiVersion", str), 2: ("kind", str)}), 2: ("raw", bytes)}
    )
    about = envelope.get("type") or {}
    fields = _KINDS.get(about.get("kind", ""))
    if fields is None:
        raise NotDecoded(f"objects of kind {about.get('kind', '')[:100]!r} are not read in protobuf")
    raw = base64.b64decode(envelope.get("raw", ""))
    return {**about, **_message(raw, fields)}


def _message(content: bytes, fields: Fields) -> Body:
    found: Body = {}
    for number, value in _values(content):
        if number not in fields:
            continue
        name, kind = fields[number]
        if isinstance(kind, list):
            found.setdefault(name, []).append(_value(value, kind[0]))
        elif kind in (_MAP_OF_TEXTS, _MAP_OF_BYTES):
            entry = _message(_as_bytes(value), {1: ("key", str), 2: ("value", kind[str])})
            found.setdefault(name, {})[entry.get("key", "")] = entry.get("value", "")
        else:
            found[name] = _value(value, kind)
    return {name: value for name, value in found.items() if value != ""}  # gogo-protobuf writes empty texts


def _value(value: int | bytes, kind: Any) -> Any:
    if kind is int or kind is bool:
        if not isinstance(value, int):
            raise NotDecoded("a number was expected")
        return bool(value) if kind is bool else value - (1 << 64) * (value >> 63)
    content = _as_bytes(value)
    if kind is str:
        return content.decode(errors="replace")
    return base64.b64encode(content).decode() if kind is bytes else _message(content, kind)


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise NotDecoded("bytes were expected")
    return value


def _values(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a message's fields."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        length = {_FIXED64: 8, _FIXED32: 4}.get(tag & 7)
        if tag & 7 == _VARINT:
            value, at = _varint(content, at)
            yield tag >> 3, value
            continue
        if tag & 7 == _BYTES:
            length, at = _varint(content, at)
        if length is None or at + length > len(content):
            raise NotDecoded("the message is truncated, or has a field of an unknown type")
        yield tag >> 3, content[at : at + length]
        at += length


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i, each in enumerate(content[at : at + _LONGEST_VARINT]):
        value |= (each & 0x7F) << (7 * i)
        if not each & 0x80:
            return value & ((1 << 64) - 1), at + i + 1
    raise NotDecoded("a number does not end")
