"""Pages of all jobs and of one job: stages, conditions, events, versions and cost."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from contentgen_contract.advice.guidance import Facts, advice_lines
from contentgen_contract.advice.job_facts import JobFacts
from contentgen_contract.advice.job_state import JobState
from contentgen_contract.advice.job_steps import job_steps
from contentgen_contract.advice.remedies import CONDITIONS
from contentgen_contract.names import Kind
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.injection import CallerDep, NowDep, ServicesDep
from contentgen_gateway.pages.rendering.forms import query_model
from contentgen_gateway.pages.rendering.page_route import PageRoute
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import LABELS, card, digest_of, minute, parsed_time
from contentgen_gateway.problems import Problem
from contentgen_gateway.schemas.bodies import Listing, Name
from contentgen_gateway.schemas.collections import CollectionListing
from contentgen_gateway.schemas.notifications import JobNotification
from contentgen_gateway.schemas.sharing import SharedWith
from contentgen_gateway.services.changes.notifications import JobNotifications
from contentgen_gateway.services.changes.sharing import JobSharing
from contentgen_gateway.services.downloads import FileReader
from contentgen_gateway.stores.queries import Order, Sorted
from contentgen_gateway.stores.records import Record
from contentgen_gateway.stores.state_filters import StateFilter
from contentgen_runtime.kube import Body

_SHOWN = 30
STATES = [
    (StateFilter.NEEDS_ME.value, "Needs me"),
    (StateFilter.WAITING.value, "Waiting"),
    (StateFilter.RUNNING.value, "Running"),
    (StateFilter.COMPLETED.value, "Completed"),
    (StateFilter.FAILED.value, "Failed"),
    (StateFilter.ESTIMATED.value, "Estimated"),
    (StateFilter.CANCELLED.value, "Cancelled"),
    (StateFilter.DELETING.value, "Deleting"),
    (StateFilter.WAITING_FOR_APPROVAL.value, "Waiting for approval"),
    (StateFilter.PAUSED.value, "Paused"),
]
_NOTIFICATIONS_SHOWN = 20

router = APIRouter(route_class=PageRoute)


_FIELDS = ("namespace", "userId", "type", "state", "status", "from", "to", "sort", "order", "cursor")
_SORTS = {
    Sorted.CREATED: "Created",
    Sorted.UPDATED: "Updated",
    Sorted.STARTED: "Started",
    Sorted.COMPLETED: "Ended",
    Sorted.NAME: "Name",
    Sorted.USER: "User",
    Sorted.COST: "Cost",
    Sorted.PROGRESS: "Progress",
    Sorted.STATUS: "Status",
    Sorted.TYPE: "Kind",
}
_ORDERS = [(Order.NEWEST.value, "Descending"), (Order.OLDEST.value, "Ascending")]
_TIMES = {Sorted.UPDATED: "updated", Sorted.STARTED: "started", Sorted.COMPLETED: "completed"}


@router.get("/jobs")
async def list_jobs(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    query: Annotated[Listing, Depends(query_model(Listing, limit=_SHOWN))],
) -> Response:
    """Page of the list of jobs."""
    scope = await services.jobs.scope(caller, query.namespace, query.user_id)
    page = await services.jobs.page(scope, await services.jobs.for_viewer(caller, scope, query.job_filter()))
    return render(
        request,
        "jobs.html",
        caller,
        jobs=[card(record) for record in page.records],
        total=page.total,
        following=page.next_cursor,
        incomplete=scope.incomplete,
        chosen={key: request.query_params.get(key, "") for key in _FIELDS},
        types=[(kind.record_type, LABELS[kind]) for kind in Kind],
        states=STATES,
        sorts=[(sort.value, told) for sort, told in _SORTS.items()],
        orders=_ORDERS,
        when=(_SORTS[query.sort], _TIMES[query.sort]) if query.sort in _TIMES else ("Created", "created"),
    )


@router.get("/jobs/{job_id}")
async def show_job(
    *,
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    now: NowDep,
    job_id: Name,
    seen: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Page of one job; 204 if it is as the browser has `seen` it."""
    record = await services.jobs.record(caller, job_id)
    if seen:
        resource = await services.resources.current(record)
        if seen == _digest(record, resource, await services.viewed_states.of_job(caller, record, resource), now):
            return Response(status_code=HTTPStatus.NO_CONTENT)
    job = card(record)
    details = await services.resources.details(record)
    resource = details.resource
    state = await services.viewed_states.of_job(caller, record, resource)
    status = (resource or {}).get("status") or {}
    facts = JobFacts.of_resource(resource) if resource is not None else JobFacts.of_record(record)
    return render(
        request,
        "job.html",
        caller,
        job=job,
        record=record,
        state=state,
        seen=_digest(record, resource, state, now),
        steps=job_steps(job.kind, facts),
        resource=resource,
        actions={action.does.value: action for action in state.actions},
        advice=advice_lines(Facts.parse(status), job.reference),
        ignored=details.notes,
        conditions=_conditions(status, state),
        parsed_time=parsed_time,
        sheet=await _contact_sheet(services.files, record),
        events=details.events,
        shares=await _shares(caller, services.sharing, job_id),
        notifications=await _notifications(caller, services.notifications, job_id),
        collections=(await services.collections.list_collections(caller, CollectionListing(limit=50))).collections,
        picture=services.files.signed_address,
    )


def _digest(record: Record, resource: Body | None, state: JobState, now: datetime) -> str:
    version = (resource or {}).get("metadata", {}).get("resourceVersion")
    at = None if state.ended else minute(now)
    return digest_of(state, version, record.get("updatedAt"), len(record.get("versions") or ()), at)


def _conditions(status: Mapping[str, Any], state: JobState) -> list[dict[str, Any]]:
    """Conditions with their meaning; a message that the page has already is left out."""
    found, told = [], {str(status.get("message") or ""), state.sentence}
    for condition in status.get("conditions") or ():
        message = str(condition.get("message") or "")
        found.append(
            condition
            | {"means": CONDITIONS.get(condition.get("type"), ""), "message": "" if message in told else message}
        )
        told.add(message)
    return found


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
