"""Dashboard: running and queued jobs, recent failures with advice, recent results, spending."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from fastapi import APIRouter, Request, Response

from contentgen_gateway.injection import CallerDep, FilesDep, JobsDep, NowDep, UsageDep
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import Card, card
from contentgen_gateway.pages.usage import spending
from contentgen_gateway.services.jobs import JobReader
from contentgen_gateway.stores.queries import JobFilter, JobStatus, Scope

_RUNNING, _FAILED, _MADE = 8, 4, 8
_CHART_DAYS = 14
_LATELY = timedelta(days=14)

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Queue:
    """Running and queued jobs, and how many there are."""

    running: tuple[Card, ...]
    queued: tuple[Card, ...]
    running_in_all: int
    queued_in_all: int


@router.get("/")
async def show_dashboard(
    *, request: Request, caller: CallerDep, jobs: JobsDep, usage: UsageDep, files: FilesDep, now: NowDep
) -> Response:
    """Page of the dashboard."""
    scope = await jobs.scope(caller, None, None)
    lately = now - _LATELY
    queue, failed, made = await asyncio.gather(
        _queue(jobs, scope),
        jobs.page(scope, JobFilter(status=JobStatus.FAILED, since=lately, limit=_FAILED)),
        jobs.page(scope, JobFilter(status=JobStatus.COMPLETED, limit=_MADE)),
    )
    return render(
        request,
        "home.html",
        caller,
        queue=queue,
        failed=[card(each) for each in failed.records],
        failed_in_all=failed.total,
        made=[card(each) for each in made.records],
        made_in_all=made.total,
        chart=await spending(caller, usage, now, _CHART_DAYS),
        picture=files.signed_address,
    )


@router.get("/queue")
async def show_queue(request: Request, caller: CallerDep, jobs: JobsDep) -> Response:
    """Fragment of running and queued jobs, which the dashboard polls."""
    scope = await jobs.scope(caller, None, None)
    return render(request, "queue.html", caller, queue=await _queue(jobs, scope))


async def _queue(jobs: JobReader, scope: Scope) -> Queue:
    running, queued = await asyncio.gather(
        jobs.page(scope, JobFilter(status=JobStatus.PROCESSING, limit=_RUNNING)),
        jobs.page(scope, JobFilter(status=JobStatus.QUEUED, limit=_RUNNING)),
    )
    return Queue(
        running=tuple(card(each) for each in running.records),
        queued=tuple(card(each) for each in queued.records),
        running_in_all=running.total,
        queued_in_all=queued.total,
    )
