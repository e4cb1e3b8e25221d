"""Dashboard: jobs that have not ended, recent failures with advice, recent results, spending."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.injection import CallerDep, NowDep, ServicesDep
from contentgen_gateway.pages.rendering.page_route import PageRoute
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import Card, card, digest_of, minute
from contentgen_gateway.pages.usage import spending
from contentgen_gateway.services.jobs import JobReader
from contentgen_gateway.stores.queries import JobFilter, Scope
from contentgen_gateway.stores.state_filters import StateFilter

_RUNNING, _FAILED, _MADE = 8, 4, 8
_CHART_DAYS = 14
_QUEUED = (StateFilter.NEEDS_ME, StateFilter.RUNNING, StateFilter.WAITING, StateFilter.DELETING)
_LATELY = timedelta(days=14)

router = APIRouter(route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class Queue:
    """Jobs that have not ended, and how many there are."""

    jobs: tuple[Card, ...]  # those that need the viewer first, then those at work, then the others
    running_in_all: int
    waiting_in_all: int
    mine_in_all: int


@router.get("/")
async def show_dashboard(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    now: NowDep,
    seen: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Page of the dashboard; 204 if it is as the browser has `seen` it."""
    scope = await services.jobs.scope(caller, None, None)
    lately = now - _LATELY
    queue, failed, made = await asyncio.gather(
        _queue(services.jobs, caller, scope),
        services.jobs.page(scope, JobFilter(state=StateFilter.FAILED, since=lately, limit=_FAILED)),
        services.jobs.page(scope, JobFilter(state=StateFilter.COMPLETED, limit=_MADE)),
    )
    shown = [card(record) for record in failed.records], [card(record) for record in made.records]
    if seen == (digest := digest_of(queue, *shown, failed.total, made.total, minute(now))):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return render(
        request,
        "home.html",
        caller,
        seen=digest,
        queue=queue,
        failed=shown[0],
        failed_in_all=failed.total,
        made=shown[1],
        made_in_all=made.total,
        chart=await spending(caller, services.usage, now, _CHART_DAYS),
        picture=services.files.signed_address,
    )


async def _queue(jobs: JobReader, caller: Caller, scope: Scope) -> Queue:
    wanted = [JobFilter(state=state, limit=_RUNNING) for state in _QUEUED]
    wanted[0] = await jobs.for_viewer(caller, scope, wanted[0])
    pages = await asyncio.gather(*(jobs.page(scope, job_filter) for job_filter in wanted))
    mine, running, waiting, _ = pages
    found = {record["jobId"]: record for page in pages for record in page.records}
    return Queue(
        jobs=tuple(card(record) for record in list(found.values())[:_RUNNING]),
        running_in_all=running.total,
        waiting_in_all=waiting.total,
        mine_in_all=mine.total,
    )
