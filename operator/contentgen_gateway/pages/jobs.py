"""The list of jobs, and a job's page: its stages, conditions, events, versions and what it cost."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from contentgen_contract.advice.reasons import CONDITIONS, PHASES
from contentgen_contract.advice.remedies import Facts, advice_lines, applicable_remedies
from contentgen_contract.names import Kind
from contentgen_gateway.api.collections import list_collections
from contentgen_gateway.api.downloads import located
from contentgen_gateway.api.jobs import page
from contentgen_gateway.api.sharing import SharedWith, list_shares
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.visibility import KINDS
from contentgen_gateway.live.resources import Unreadable
from contentgen_gateway.pages.rendering.forms import asking
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import LABELS, card, shown, steps
from contentgen_gateway.problems import Problem
from contentgen_gateway.schemas.bodies import Listing, Name
from contentgen_gateway.schemas.collections import CollectionListing
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.services.run_state import ignored_annotations
from contentgen_gateway.stores.queries import JobStatus, Order
from contentgen_gateway.stores.records import Record

_SHOWN = 30

router = APIRouter()


_FIELDS = ("namespace", "userId", "type", "status", "from", "to", "order", "cursor")


@router.get("/jobs")
async def list_jobs(
    request: Request, caller: Calling, parts: Using, listed: Annotated[Listing, Depends(asking(Listing, limit=_SHOWN))]
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
        incomplete=scope.incomplete,
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
    found = await _resource(parts, record)
    resource = found if found is not None and parts.resources.serves(found) else None
    status = (resource or {}).get("status") or {}
    facts = Facts.of(status)
    return render(
        request,
        "job.html",
        caller,
        job=shown_card,
        record=record,
        steps=steps(shown_card.kind, shown_card.phase, shown_card.progress),
        resource=resource,
        actions={each.action.value for each in applicable_remedies(facts)},
        todo=" ".join(advice_lines(facts, shown_card.name)),
        ignored=ignored_annotations(resource) if resource else _of_another_class(parts, found),
        conditions=[each | {"means": CONDITIONS.get(each.get("type"), "")} for each in status.get("conditions") or ()],
        phase_means=PHASES.get(shown_card.phase, ""),  # type: ignore[call-overload]  # a phase is its own name
        sheet=await _sheet(parts, record),
        events=await _events(parts, resource),
        shares=await _shares(caller, parts, job_id),
        collections=(await list_collections(caller, parts, CollectionListing(limit=50))).collections,
        picture=lambda address: shown(parts.files, address),
    )


async def _resource(parts: Dependencies, record: Record) -> dict[str, Any] | None:
    """The job's resource, if there still is one: another one of its name that was made later is not it."""
    kind, namespace, name = KINDS.get(str(record.get("type"))), record.get("namespace"), record.get("name")
    if kind is None or not isinstance(namespace, str) or not isinstance(name, str):
        return None
    try:
        found = await parts.resources.get(kind, namespace, name)
    except Unreadable:  # the record is shown all the same
        return None
    return found if found and (found.get("metadata") or {}).get("uid") == record["jobId"] else None


def _of_another_class(parts: Dependencies, found: dict[str, Any] | None) -> tuple[str, ...]:
    """A note on a resource whose status and actions are another gateway's."""
    try:
        if found is not None:
            parts.resources.require_class(found)
    except Problem as problem:
        return (problem.detail,)
    return ()


async def _events(parts: Dependencies, resource: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What Kubernetes has noted of a resource in the last hour, the newest first."""
    return (
        await parts.resources.events(resource["metadata"]["namespace"], resource["metadata"]["uid"]) if resource else []
    )


async def _shares(caller: Caller, parts: Dependencies, job_id: str) -> list[SharedWith] | None:
    """Whom it is shared with; None for those who may not know."""
    try:
        return (await list_shares(caller, parts, job_id)).shares
    except Problem:
        return None


async def _sheet(parts: Dependencies, record: Record) -> str:
    """The contact sheet of a training's newest dataset; empty where there is none."""
    if record.get("type") != Kind.LORA_TRAINING.record_type:
        return ""
    try:
        _, _, key = located(parts, record, "preview.jpg", None)
    except (Problem, ValueError):  # ValueError: a userId that was taken over from elsewhere and makes no key
        return ""
    return parts.files.signed(key) if await parts.files.size(key) is not None else ""
