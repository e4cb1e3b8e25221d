"""The list of jobs, and a job's page: its stages, conditions, events, versions and what it cost."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from contentgen_contract.names import Kind
from contentgen_contract.reasons import CONDITIONS, PHASES
from contentgen_gateway.jobs import page
from contentgen_gateway.pages.render import render
from contentgen_gateway.pages.signing import shown, shown_key
from contentgen_gateway.pages.views import LABELS, card, dataset_prefix, steps
from contentgen_gateway.parts import Calling, Parts, Using
from contentgen_gateway.queries import JobStatus, Order
from contentgen_gateway.records import Record
from contentgen_gateway.schemas import Listing, Name
from contentgen_gateway.sight import KINDS

_SHOWN = 30

router = APIRouter()


def asked(request: Request) -> Listing:
    """What a form asks for: a field that is left empty asks for nothing."""
    given = {key: value for key, value in request.query_params.items() if value and key in _FIELDS}
    try:
        return Listing.model_validate(given | {"limit": _SHOWN})
    except ValidationError as error:
        raise RequestValidationError([each | {"loc": ("query", *each["loc"])} for each in error.errors()]) from None


_FIELDS = ("namespace", "userId", "type", "status", "from", "to", "order", "cursor")


@router.get("/jobs")
async def list_jobs(
    request: Request, caller: Calling, parts: Using, listed: Annotated[Listing, Depends(asked)]
) -> Response:
    """Jobs, a page at a time."""
    scope = await parts.sight.scope(caller, listed.namespace, listed.user_id)
    records, total, following = await page(parts, scope, listed.wanted())
    return render(
        request,
        "jobs.html",
        caller,
        jobs=[card(each) for each in records],
        total=total,
        following=following,
        chosen={key: request.query_params.get(key, "") for key in _FIELDS},
        types=[(kind.record_type, LABELS[kind]) for kind in Kind],
        statuses=[each.value for each in JobStatus],
        orders=[(Order.NEWEST.value, "Newest first"), (Order.OLDEST.value, "Oldest first")],
    )


@router.get("/jobs/{job_id}")
async def one_job(request: Request, caller: Calling, parts: Using, job_id: Name) -> Response:
    """One job."""
    record = await parts.sight.job(caller, job_id)
    shown_card = card(record)
    resource = await _resource(parts, record)
    status = (resource or {}).get("status") or {}
    return render(
        request,
        "job.html",
        caller,
        job=shown_card,
        record=record,
        steps=steps(shown_card.kind, shown_card.phase, shown_card.progress),
        resource=resource,
        conditions=[each | {"means": CONDITIONS.get(each.get("type"), "")} for each in status.get("conditions") or ()],
        phase_means=PHASES.get(shown_card.phase, ""),  # type: ignore[call-overload]  # a phase is its own name
        sheet=_sheet(parts, record),
        picture=lambda address: shown(parts.files, address),
    )


async def _resource(parts: Parts, record: Record) -> dict[str, Any] | None:
    """The job's resource, if there still is one: another one of its name that was made later is not it."""
    kind, namespace, name = KINDS.get(str(record.get("type"))), record.get("namespace"), record.get("name")
    if kind is None or not isinstance(namespace, str) or not isinstance(name, str):
        return None
    found = await parts.resources.get(kind, namespace, name)
    return found if found and (found.get("metadata") or {}).get("uid") == record["jobId"] else None


def _sheet(parts: Parts, record: Record) -> str:
    """The contact sheet of a training's newest dataset."""
    made = dataset_prefix(record, max(len(record.get("versions") or ()), 1))
    if record.get("type") != Kind.LORA_TRAINING.record_type or made is None or int(record.get("progress") or 0) < 60:
        return ""
    return shown_key(parts.files, f"{made}preview.jpg")
