"""Canonical provider request: what decides the result, whatever its spelling. Pure.

Requests with a common hash are equal: the same model, the same arguments as sent (numbers by value), the same bytes of
inputs and LoRAs. A URL is taken without its signature, and a seed that the operator chose is left out.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from contentgen_contract.base import Value
from contentgen_contract.records.presigned_urls import without_signature
from contentgen_operator.state.observed import LoraView
from contentgen_operator.state.provider_requests import Call, StoredObject

SENT_SHA256 = "sentSha256"
"""Name of the fact with the SHA-256 of the prepared file that is sent."""
_SOURCE_SHA256 = "sourceSha256"  # fact of the prepare stage
# Arguments that do not decide the result, or that only an installation's settings decide.
_NOT_CONTENT = frozenset({"speech_models", "webhook_url", "webhook_auth_header_name", "webhook_auth_header_value"})
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
Digest = Callable[[str], Any]  # of a stored object, by its key; None: unknown


class RequestContent(Value):
    """Hashes (64 hex digits) of a canonical request. Empty: an input's bytes are unknown."""

    kept: tuple[str, ...] = ()  # under which its purchase is found
    asked: tuple[str, ...] = ()  # by which an equal purchase is searched


class UnknownBytes(Exception):
    """The bytes of an input are unknown."""


def seeded_content(call: Call, loras: Iterable[LoraView], *, any_seed: bool) -> RequestContent:
    """A request without a seed is equal to one with any; a purchase is found by the seed that was sent too. Raises
    UnknownBytes.
    """
    digest = _files(loras).get
    seeded = _hash(call, _canonical(call.arguments, digest))
    seedless = _hash(call, _canonical({k: v for k, v in call.arguments.items() if k != "seed"}, digest))
    return RequestContent(kept=(seedless, seeded), asked=(seedless if any_seed else seeded,))


def prepared_content(call: Call, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> RequestContent:
    """A prepared input is equal by its bytes, or by the source's bytes and the settings of the preparation: the next
    version of an encoder writes other bytes.

    `settings`: those that are not arguments of the call, without defaults, numbers by value. Raises UnknownBytes.
    """
    inputs: list[Any] = [facts.get(SENT_SHA256)]
    if (source := facts.get(_SOURCE_SHA256)) is not None:
        inputs.append({"source": source, "settings": settings})
    hashes = tuple(
        _hash(call, _canonical(call.arguments, _same(source_input))) for source_input in inputs if source_input
    )
    return RequestContent(kept=hashes, asked=hashes)


def _same(digest: Any) -> Digest:
    """The digest for each key: a call has one prepared input."""
    return lambda _: digest


def _files(loras: Iterable[LoraView]) -> dict[str, str]:
    """SHA-256 of the LoRAs' files, by key."""
    listed = [
        file for lora in loras for training in lora.trainings for file in (training.outputs or {}).get("files") or ()
    ]
    return {str(file.get("key")): str(file["sha256"]) for file in listed if file.get("sha256")}


def _canonical(value: Any, digest: Digest, name: str = "") -> Any:
    """The value with digests of stored objects, URLs under `path` without signature, and whole floats as integers."""
    match value:
        case StoredObject(key=key):
            if (found := digest(key)) is None:
                raise UnknownBytes(key)
            return {"sha256": found}
        case dict():
            return {at: _canonical(member, digest, at) for at, member in value.items() if at not in _NOT_CONTENT}
        case list() | tuple():
            return [_canonical(element, digest) for element in value]
        case str() if name == "path":
            return without_signature(value)
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def decimals(value: Any) -> Any:
    """The JSON value with each decimal in its shortest form: `0.80` is `0.8`."""
    match value:
        case dict():
            return {name: decimals(member) for name, member in value.items()}
        case list():
            return [decimals(element) for element in value]
        case str() if _DECIMAL.fullmatch(value):
            return format(Decimal(value).normalize() + 0, "f")
        case _:
            return value


def _hash(call: Call, arguments: Any) -> str:
    text = json.dumps([call.provider, call.model, arguments], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
