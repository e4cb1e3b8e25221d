"""Creation of jobs: a request becomes a resource in the caller's namespace, one for each Idempotency-Key."""

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

from contentgen_contract.names import CALLER_ANNOTATION, REQUEST_ANNOTATION
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Authorizer, Verb
from contentgen_gateway.live.job_snapshot import document
from contentgen_gateway.live.recent_creations import RecentCreations
from contentgen_gateway.live.resources import JobResources
from contentgen_gateway.problems import BadRequest, Problem
from contentgen_gateway.schemas.changes import Made
from contentgen_gateway.schemas.requests import GenerateOrder, JobOrder, checked
from contentgen_gateway.services.changes.lora_references import LoraReferences
from contentgen_gateway.services.jobs import state_fields
from contentgen_gateway.services.ownership import namespace_of, require_may_name
from contentgen_runtime.kube import Body
from contentgen_runtime.namespaces import Namespaces

_TRIES = 3


@dataclass(frozen=True, slots=True)
class JobCreation:
    """Creation of resources, with the caller's rights checked first."""

    authorizer: Authorizer
    resources: JobResources
    creations: RecentCreations
    loras: LoraReferences
    namespaces: Namespaces

    async def create(self, caller: Caller, order: JobOrder, key: str | None) -> Made:
        """Created job, or the existing one of this Idempotency-Key.

        Raises Problem if the caller may not create it, or the API server refuses it.
        """
        body = await self._resource(caller, order, key)
        made = document(await self.creations.announce(order.kind, body))
        return Made.model_validate(made | state_fields(made))

    async def _resource(self, caller: Caller, order: JobOrder, key: str | None) -> Body:
        namespace = namespace_of(caller, order.namespace, self.namespaces)
        if not await self.authorizer.may(caller, Verb.CREATE, order.kind, namespace):
            raise Problem(403, f"you may not create {order.kind.plural} in the namespace {namespace!r}")
        if key is not None:
            return await self._create_once(caller, order, namespace, key)
        spec = await self._spec(caller, order, namespace)
        name = order.name or _name(_lora_name(spec) or order.kind.short_name, secrets.token_hex(5))
        return await self.resources.create(order.kind, namespace, name, spec, {CALLER_ANNOTATION: caller.name})

    async def _spec(self, caller: Caller, order: JobOrder, namespace: str) -> dict[str, Any]:
        """Spec of the order. Raises Problem if the caller may not ask for a part of it."""
        spec = order.spec()
        self.resources.require_own_class(order.operator_class)
        if isinstance(order, GenerateOrder):
            spec |= await self.loras.resolve(caller, order, namespace)
        await require_may_name(self.authorizer, caller, spec.get("userId"), namespace)
        return checked(order, spec)

    async def _create_once(self, caller: Caller, order: JobOrder, namespace: str, key: str) -> Body:
        """Resource named after the key: the API server admits one, however many requests arrive at a time."""
        if order.name is not None:
            raise BadRequest("name", order.name, "left out: with an Idempotency-Key the name follows from the key")
        kind, of_key = order.kind, _hash(caller.name, namespace, order.kind.value, key)
        # Hash of the request as given: a LoRA that has a newer version since does not make it another request.
        request = f"{of_key}.{_hash(self.loras.without_signatures(order.spec()))}"
        name = _name(kind.short_name, of_key[:20])
        for _ in range(_TRIES):
            there = await self.resources.get(kind, namespace, name)
            if there is not None:
                self.resources.require_class(there)
                return _require_same_request(there, request, key)
            spec = await self._spec(caller, order, namespace)
            annotations = {CALLER_ANNOTATION: caller.name, REQUEST_ANNOTATION: request}
            try:
                return await self.resources.create(kind, namespace, name, spec, annotations)
            except Problem as problem:
                if problem.status != 409:
                    raise
        raise Problem(409, "the job of this Idempotency-Key is created and deleted repeatedly; try again")


def _require_same_request(there: Body, request: str, key: str) -> Body:
    before = (there["metadata"].get("annotations") or {}).get(REQUEST_ANNOTATION)
    if before == request:
        return there
    name = there["metadata"]["name"]
    raise Problem(422, f"Idempotency-Key: {key!r} was used for another request, which created {name!r}; use a new key")


def _lora_name(spec: dict[str, Any]) -> str:
    return re.sub(r"[^a-z0-9]+", "-", spec.get("loraName", "").lower()).strip("-")[:40].rstrip("-")


def _name(first: str, last: str) -> str:
    return f"{first}-{last}"


def _hash(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
