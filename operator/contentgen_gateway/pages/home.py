"""The dashboard: what runs, what waits, what failed and what to do, and what was made last."""

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
    """What is under way, and what waits."""

    running: tuple[Card, ...]
    queued: tuple[Card, ...]
    running_in_all: int
    queued_in_all: int


@router.get("/")
async def dashboard(
    *, request: Request, caller: CallerDep, jobs: JobsDep, usage: UsageDep, files: FilesDep, now: NowDep
) -> Response:
    """The first page."""
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
async def queue(request: Request, caller: CallerDep, jobs: JobsDep) -> Response:
    """The dashboard's live part."""
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
