"""LoRAs given by the address of a model that was made here: the bucket is private, so the provider could not fetch it.
The LoraTraining that made it is named instead, and the operator signs its newest version when it pays.
"""

import re
from dataclasses import dataclass
from typing import Any

from contentgen_contract.names import Kind
from contentgen_contract.resources.status import ResourceStatus
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.problems import BadRequest, NotFound
from contentgen_gateway.schemas.requests import GenerateOrder
from contentgen_gateway.services.dependencies import Dependencies
from contentgen_gateway.stores.files import BucketFiles
from contentgen_runtime.kube import Body

_MODEL = re.compile(r"loras/[^/]+/(?P<job>[^/]+)/v\d+/model\.safetensors")


async def resolved(caller: Caller, parts: Dependencies, order: GenerateOrder, namespace: str) -> dict[str, Any]:
    """The `loras` of the spec. Raises BadRequest for one of ours that can't be used."""
    loras = order.spec().get("loras", [])
    for index, lora in enumerate(loras):
        path = lora.get("path", "")
        key = parts.files.key_of(path)
        if key is not None:
            where = f"{order.loras_at}.{index}.path"
            name = await _trained(caller, parts, namespace, _Given(where, path.partition("?")[0], key))
            loras[index] = {"loraRef": {"name": name}, "scale": lora["scale"]}
    return {"loras": loras} if loras else {}


def said(spec: dict[str, Any], files: BucketFiles) -> dict[str, Any]:
    """The spec with the address of each model of ours without its signature, which is another one a while later."""
    loras = [
        each | {"path": files.key_of(path)} if (path := each.get("path")) and files.key_of(path) else each
        for each in spec.get("loras", ())
    ]
    return spec | ({"loras": loras} if loras else {})


@dataclass(frozen=True)
class _Given:
    """A path, where it was given, and the key that it means."""

    where: str
    shown: str
    key: str

    def is_not(self, expected: str) -> BadRequest:
        """What is wrong with it."""
        return BadRequest(self.where, self.shown, expected)


async def _trained(caller: Caller, parts: Dependencies, namespace: str, given: _Given) -> str:
    """The name of the LoraTraining whose newest model this is."""
    found = _MODEL.fullmatch(given.key)
    if found is None:
        raise given.is_not("a model.safetensors that was made here, or a public address")
    try:
        record = await parts.sight.job(caller, found["job"])
    except NotFound:
        raise given.is_not("of a LoRA that you may see") from None
    if record.get("namespace") != namespace:
        raise given.is_not(f"of the namespace {namespace!r}: a LoRA is used where it was trained")
    name = str(record.get("name"))
    there = await parts.resources.get(Kind.LORA_TRAINING, namespace, name)
    newest = _newest(there) if there is not None else None
    if newest is None:
        raise given.is_not(f"usable: its LoraTraining {name!r} is gone; apply it again, which pays nothing")
    if newest != given.key:
        raise given.is_not(f"the newest version of {name!r}, which is {newest}")
    return name


def _newest(resource: Body) -> str | None:
    """The key of the newest model."""
    versions = ResourceStatus.model_validate(resource.get("status") or {}).versions
    newest = max(versions, key=lambda each: each.version, default=None)
    files = newest.files if newest is not None else ()
    return next((file.key for file in files if file.key.endswith("/model.safetensors")), None)
