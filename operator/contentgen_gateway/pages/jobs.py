"""Pages of all jobs and of one job: stages, conditions, events, versions and cost."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from contentgen_contract.advice.reasons import CONDITIONS, PHASES
from contentgen_contract.advice.remedies import Facts, advice_lines, applicable_remedies
from contentgen_contract.names import Kind
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.injection import (
    CallerDep,
    CollectionsDep,
    FilesDep,
    JobsDep,
    NotificationsDep,
    QueueDep,
    ResourcesDep,
    SharingDep,
)
from contentgen_gateway.pages.rendering.forms import query_model
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import LABELS, card, steps
from contentgen_gateway.problems import Problem
from contentgen_gateway.schemas.bodies import Listing, Name
from contentgen_gateway.schemas.collections import CollectionListing
from contentgen_gateway.schemas.notifications import JobNotification
from contentgen_gateway.schemas.sharing import SharedWith
from contentgen_gateway.services.changes.notifications import JobNotifications
from contentgen_gateway.services.changes.sharing import JobSharing
from contentgen_gateway.services.downloads import FileReader
from contentgen_gateway.stores.queries import JobStatus, Order
from contentgen_gateway.stores.records import Record

_SHOWN = 30
_NOTIFICATIONS_SHOWN = 20

router = APIRouter()


_FIELDS = ("namespace", "userId", "type", "status", "from", "to", "order", "cursor")


@router.get("/jobs")
async def list_jobs(
    request: Request,
    caller: CallerDep,
    jobs: JobsDep,
    query: Annotated[Listing, Depends(query_model(Listing, limit=_SHOWN))],
) -> Response:
    """Page of the list of jobs."""
    scope = await jobs.scope(caller, query.namespace, query.user_id)
    page = await jobs.page(scope, query.job_filter())
    return render(
        request,
        "jobs.html",
        caller,
        jobs=[card(each) for each in page.records],
        total=page.total,
        following=page.next_cursor,
        incomplete=scope.incomplete,
        chosen={key: request.query_params.get(key, "") for key in _FIELDS},
        types=[(kind.record_type, LABELS[kind]) for kind in Kind],
        statuses=[each.value for each in JobStatus],
        orders=[(Order.NEWEST.value, "Newest first"), (Order.OLDEST.value, "Oldest first")],
    )


@router.get("/jobs/{job_id}")
async def show_job(
    *,
    request: Request,
    caller: CallerDep,
    jobs: JobsDep,
    resources: ResourcesDep,
    queue: QueueDep,
    files: FilesDep,
    sharing: SharingDep,
    collections: CollectionsDep,
    notifications: NotificationsDep,
    job_id: Name,
) -> Response:
    """Page of one job."""
    record = await jobs.record(caller, job_id)
    job = card(record)
    details = await resources.details(record)
    status = (details.resource or {}).get("status") or {}
    facts = Facts.parse(status)
    return render(
        request,
        "job.html",
        caller,
        job=job,
        record=record,
        steps=steps(job.kind, job.phase, job.progress),
        resource=details.resource,
        position=queue.position(job_id) if details.resource is not None else None,
        actions={each.action.value for each in applicable_remedies(facts)},
        todo=" ".join(advice_lines(facts, job.name)),
        ignored=details.notes,
        conditions=[each | {"means": CONDITIONS.get(each.get("type"), "")} for each in status.get("conditions") or ()],
        phase_means=PHASES.get(job.phase, ""),  # type: ignore[call-overload]  # a phase is its own name
        sheet=await _contact_sheet(files, record),
        events=details.events,
        shares=await _shares(caller, sharing, job_id),
        notifications=await _notifications(caller, notifications, job_id),
        collections=(await collections.list_collections(caller, CollectionListing(limit=50))).collections,
        picture=files.signed_address,
    )


async def _shares(caller: Caller, sharing: JobSharing, job_id: str) -> list[SharedWith] | None:
    """Shares of a job; None if the caller may not see them."""
    try:
        return (await sharing.list_shares(caller, job_id)).shares
    except Problem:
        return None


async def _notifications(caller: Caller, notifications: JobNotifications, job_id: str) -> list[JobNotification]:
    """Latest notifications of a job; none if the caller may not see them."""
    try:
        return (await notifications.of_job(caller, job_id)).notifications[:_NOTIFICATIONS_SHOWN]
    except Problem:
        return []


async def _contact_sheet(files: FileReader, record: Record) -> str:
    """Signed URL of the contact sheet of a training's newest dataset; empty if there is none."""
    if record.get("type") != Kind.LORA_TRAINING.record_type:
        return ""
    return await files.view_url(record, "preview.jpg")
