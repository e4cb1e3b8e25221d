"""The dashboard: what runs, what waits, what failed and what to do, and what was made last."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from fastapi import APIRouter, Request, Response

from contentgen_gateway.api.jobs import page
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import Card, card, shown
from contentgen_gateway.pages.usage import spending
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
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
async def dashboard(request: Request, caller: Calling, parts: Using) -> Response:
    """The first page."""
    scope = await parts.sight.scope(caller, None, None)
    lately = parts.clock() - _LATELY
    queue, failed, made = await asyncio.gather(
        _queue(parts, scope),
        page(parts, scope, JobFilter(status=JobStatus.FAILED, since=lately, limit=_FAILED)),
        page(parts, scope, JobFilter(status=JobStatus.COMPLETED, limit=_MADE)),
    )
    return render(
        request,
        "home.html",
        caller,
        queue=queue,
        failed=[card(each) for each in failed[0]],
        failed_in_all=failed[1],
        made=[card(each) for each in made[0]],
        made_in_all=made[1],
        chart=await spending(caller, parts, _CHART_DAYS),
        picture=lambda address: shown(parts.files, address),
    )


@router.get("/queue")
async def queue(request: Request, caller: Calling, parts: Using) -> Response:
    """The dashboard's live part."""
    scope = await parts.sight.scope(caller, None, None)
    return render(request, "queue.html", caller, queue=await _queue(parts, scope))


async def _queue(parts: Dependencies, scope: Scope) -> Queue:
    running, queued = await asyncio.gather(
        page(parts, scope, JobFilter(status=JobStatus.PROCESSING, limit=_RUNNING)),
        page(parts, scope, JobFilter(status=JobStatus.QUEUED, limit=_RUNNING)),
    )
    return Queue(
        running=tuple(card(each) for each in running[0]),
        queued=tuple(card(each) for each in queued[0]),
        running_in_all=running[1],
        queued_in_all=queued[1],
    )
