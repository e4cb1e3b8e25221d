"""LoRAs of a request that are given by the address of a model in our bucket.

The bucket is private, so a provider could not fetch that address. The spec refers to the LoraTraining instead, and the
operator signs its newest version when it pays.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contentgen_contract.names import Kind
from contentgen_contract.resources.status import ResourceStatus
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.live.resources import JobResources
from contentgen_gateway.problems import BadRequest, NotFound
from contentgen_gateway.schemas.requests import GenerateOrder
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.outputs import versions_of
from contentgen_gateway.stores.records import Record
from contentgen_runtime.kube import Body

_MODEL = re.compile(r"loras/[^/]+/(?P<job>[^/]+)/v\d+/model\.safetensors")


@dataclass(frozen=True, slots=True)
class LoraReferences:
    """References to LoraTrainings in place of addresses of their models."""

    visibility: Visibility
    resources: JobResources
    files: BucketFiles

    async def resolve(self, caller: Caller, order: GenerateOrder, namespace: str) -> dict[str, Any]:
        """The field `loras` of the spec; empty without LoRAs. Raises BadRequest for one that cannot be used."""
        loras = order.spec().get("loras", [])
        for index, lora in enumerate(loras):
            path = lora.get("path", "")
            key = self.files.key_of(path)
            if key is not None:
                field = f"{order.loras_at}.{index}.path"
                name = await self._training(caller, namespace, _ModelAddress(field, path.partition("?")[0], key))
                loras[index] = {"loraRef": {"name": name}, "scale": lora["scale"]}
        return {"loras": loras} if loras else {}

    def without_signatures(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Spec with keys in place of addresses in our bucket, whose signatures change from request to request."""
        loras = [
            lora | {"path": self.files.key_of(path)} if (path := lora.get("path")) and self.files.key_of(path) else lora
            for lora in spec.get("loras", ())
        ]
        return spec | ({"loras": loras} if loras else {})

    async def _training(self, caller: Caller, namespace: str, given: "_ModelAddress") -> str:
        """Name of the LoraTraining whose newest model this is. Raises BadRequest."""
        found = _MODEL.fullmatch(given.key)
        if found is None:
            raise given.is_not("a model.safetensors of this installation, or a public address")
        try:
            record = await self.visibility.job(caller, found["job"])
        except NotFound:
            raise given.is_not("of a LoRA that you may see") from None
        if record.get("namespace") != namespace:
            raise given.is_not(
                f"of the namespace {namespace!r}: a LoRA can be used only where it was trained; elsewhere, download "
                "the model and give the public address of your copy"
            )
        name = str(record.get("name"))
        there = await self.resources.get(Kind.LORA_TRAINING, namespace, name)
        newest = _newest(there) if there is not None else _newest_of_expired(record)
        if newest is None:
            raise given.is_not(f"usable: its LoraTraining {name!r} is deleted; apply it again, which pays nothing")
        if newest != given.key:
            raise given.is_not(f"the newest version of {name!r}, which is {newest}")
        return name


@dataclass(frozen=True)
class _ModelAddress:
    """Address of a model in a request: the field, the address without its signature, and its S3 key."""

    field: str
    address: str
    key: str

    def is_not(self, expected: str) -> BadRequest:
        """The refusal of this address."""
        return BadRequest(self.field, self.address, expected)


def _newest(resource: Body) -> str | None:
    """S3 key of the newest model; None if the resource has none."""
    versions = ResourceStatus.model_validate(resource.get("status") or {}).versions
    newest = max(versions, key=lambda each: each.version, default=None)
    files = newest.files if newest is not None else ()
    return next((file.key for file in files if file.key.endswith("/model.safetensors")), None)


def _newest_of_expired(record: Record) -> str | None:
    """S3 key of the newest model of a LoraTraining that the operator deleted after its ttlSecondsAfterFinished; None if
    a person deleted it, or a later resource has adopted it.
    """
    if not isinstance(record.get("expiredAt"), datetime) or record.get("adoptedBy"):
        return None
    newest = next(iter(versions_of(record)), {})
    key = newest.get("s3Key")
    return key if isinstance(key, str) else None
