"""What a person asks for becomes a resource in their namespace: once for each Idempotency-Key."""

import hashlib
import json
import re
import secrets
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from contentgen_contract.names import CALLER_ANNOTATION, REQUEST_ANNOTATION
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Verb
from contentgen_gateway.live.job_snapshot import JobSnapshot, document
from contentgen_gateway.problems import CONFLICT, RESPONSES, BadRequest, Problem
from contentgen_gateway.schemas.bodies import Body as Shape
from contentgen_gateway.schemas.bodies import JobType
from contentgen_gateway.schemas.refusals import PRINTABLE
from contentgen_gateway.schemas.requests import GenerateOrder, Order, TrainOrder, TranscribeOrder, checked
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.services.lora_references import resolved, said
from contentgen_runtime.kube import Body
from contentgen_runtime.namespaces import Namespaces

router = APIRouter(prefix="/api", tags=["make"], responses=RESPONSES | CONFLICT)
_TRIES = 3
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=PRINTABLE,
        description="The same key of the same caller makes one job, however often it is sent.",
    ),
]


class Made(Shape):
    """A job that begins. Its address is in `Location`."""

    job_id: str
    user_id: str
    type: JobType
    namespace: str
    name: str
    status: str
    created_at: datetime


@router.post("/lora/train", status_code=202)
async def train(caller: Calling, parts: Using, order: TrainOrder, response: Response, key: Key = None) -> Made:
    """A LoRA from a video."""
    return await _made(caller, parts, order, response, key)


@router.post("/images/generate", status_code=202)
async def generate(caller: Calling, parts: Using, order: GenerateOrder, response: Response, key: Key = None) -> Made:
    """Pictures from a prompt."""
    return await _made(caller, parts, order, response, key)


@router.post("/transcribe", status_code=202)
async def transcribe(
    caller: Calling, parts: Using, order: TranscribeOrder, response: Response, key: Key = None
) -> Made:
    """A transcript of a recording."""
    return await _made(caller, parts, order, response, key)


async def _made(caller: Caller, parts: Dependencies, order: Order, response: Response, key: str | None) -> Made:
    body = await make(caller, parts, order, key)
    found = _told(await parts.creations.announce(order.kind, body))
    response.headers["Location"] = f"/api/jobs/{found.job_id}"
    return found


async def make(caller: Caller, parts: Dependencies, order: Order, key: str | None = None) -> Body:
    """The resource. Raises Problem where the caller may not, or the API server does not."""
    namespace = namespace_of(caller, order.namespace, parts.namespaces)
    if not await parts.access.may(caller, Verb.CREATE, order.kind, namespace):
        raise Problem(403, f"you may not create {order.kind.plural} in the namespace {namespace!r}")
    if key is not None:
        return await _once(caller, parts, order, namespace, key)
    spec = await _spec(caller, parts, order, namespace)
    name = order.name or _name(_called(spec) or order.kind.short_name, secrets.token_hex(5))
    return await parts.resources.create(order.kind, namespace, name, spec, {CALLER_ANNOTATION: caller.name})


async def _spec(caller: Caller, parts: Dependencies, order: Order, namespace: str) -> dict[str, Any]:
    """What was asked for, as far as the caller may ask for it."""
    spec = order.spec()
    parts.resources.require_own_class(order.operator_class)
    if isinstance(order, GenerateOrder):
        spec |= await resolved(caller, parts, order, namespace)
    await require_may_name(caller, parts, spec.get("userId"), namespace)
    return checked(order.kind, spec)


async def _once(caller: Caller, parts: Dependencies, order: Order, namespace: str, key: str) -> Body:
    """The name follows from the key, so that the API server itself makes it once, however many ask at a time."""
    if order.name is not None:
        raise BadRequest("name", order.name, "left out: with an Idempotency-Key the name follows from the key")
    kind, of_key = order.kind, _hash(caller.name, namespace, order.kind.value, key)
    # Of what was said, not of what it meant then: a LoRA that has a newer version by now makes no other request of it.
    request = f"{of_key}.{_hash(said(order.spec(), parts.files))}"
    name = _name(kind.short_name, of_key[:20])
    for _ in range(_TRIES):
        there = await parts.resources.get(kind, namespace, name)
        if there is not None:
            parts.resources.require_class(there)
            return _same(there, request, key)
        spec = await _spec(caller, parts, order, namespace)
        annotations = {CALLER_ANNOTATION: caller.name, REQUEST_ANNOTATION: request}
        try:
            return await parts.resources.create(kind, namespace, name, spec, annotations)
        except Problem as problem:
            if problem.status != 409:
                raise
    raise Problem(409, "the job of this Idempotency-Key is made and deleted all the time; try again")


def _same(there: Body, request: str, key: str) -> Body:
    before = (there["metadata"].get("annotations") or {}).get(REQUEST_ANNOTATION)
    if before == request:
        return there
    name = there["metadata"]["name"]
    raise Problem(422, f"Idempotency-Key: {key!r} was used for another request, which made {name!r}; take a new key")


def namespace_of(caller: Caller, given: str | None, selected: Namespaces) -> str:
    """Where to: as it is said, else the one namespace of the installation, else a service account's own.

    Raises BadRequest, also where the installation does not work: a resource there would wait for ever.
    """
    only = selected.names[0] if len(selected.names) == 1 else None
    namespace = given or only or caller.home
    if namespace is None:
        raise BadRequest(
            "namespace", None, "a namespace: you are no service account that has one of its own, so name it"
        )
    if namespace not in selected:
        expected = f"{only!r}, the one namespace that" if only else "a namespace that"
        hint = "" if only else "; an administrator adds it by the chart's watchNamespaces or its labels"
        raise BadRequest("namespace", namespace, f"{expected} this installation works in{hint}")
    return namespace


async def require_may_name(caller: Caller, parts: Dependencies, user_id: str | None, namespace: str) -> None:
    """Raises Problem 403 where the caller may not make assets of this user."""
    if user_id is None or await parts.access.may_name(caller, user_id, namespace):
        return
    detail = (
        f"userId: {user_id!r} must be the namespace ({namespace!r}), left out, or a user id for which {caller.name} "
        "has the verb use on userids.contentgen.dev; a Role with that resource name grants it"
    )
    raise Problem(403, detail, errors=[{"loc": ["body", "userId"], "msg": "you may not name this user"}])


def _told(now: JobSnapshot) -> Made:
    return Made.model_validate(document(now))


def _called(spec: dict[str, Any]) -> str:
    return re.sub(r"[^a-z0-9]+", "-", spec.get("loraName", "").lower()).strip("-")[:40].rstrip("-")


def _name(first: str, last: str) -> str:
    return f"{first}-{last}"


def _hash(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
