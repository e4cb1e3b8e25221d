"""Control endpoints of the sandbox: ledger, faults and store switches."""

from datetime import timedelta
from typing import Literal

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field

from contentgen_sandbox.control.switches import State, Switches
from contentgen_sandbox.faults import Fault
from contentgen_sandbox.sandbox import of

router = APIRouter()
MAX_FAULTS = 100
SWITCH_S = 30


@router.get("/healthz")
async def healthz() -> Response:
    return PlainTextResponse("ok")


@router.get("/sandbox/ledger")
async def read_ledger(request: Request) -> Response:
    return JSONResponse(of(request).ledger.report())


@router.delete("/sandbox/ledger")
async def clear_ledger(request: Request) -> Response:
    of(request).ledger.clear()
    return Response(status_code=204)


@router.put("/sandbox/faults")
async def arm(faults: list[Fault], request: Request) -> Response:
    of(request).faults.arm(faults[:MAX_FAULTS])
    return _armed(request)


@router.get("/sandbox/faults")
async def armed(request: Request) -> Response:
    return _armed(request)


@router.delete("/sandbox/faults")
async def disarm(request: Request) -> Response:
    of(request).faults.arm([])
    return Response(status_code=204)


def _armed(request: Request) -> Response:
    return JSONResponse([fault.model_dump(exclude_none=True) for fault in of(request).faults.armed()])


@router.delete("/sandbox/jobs/{job_id}/faults")
async def heal(job_id: str, request: Request) -> Response:
    """Clear the faults of a request, so that its result URL answers and it continues. 404 if it does not exist."""
    sandbox = of(request)
    before = sandbox.jobs.get(job_id)
    if before is None:
        raise HTTPException(404, "no such request")
    job = sandbox.jobs.change(job_id, faults=())
    if "stuck" in before.faults and job.phase != "done":
        sandbox.runner.start(job)
    return Response(status_code=204)


class Age(BaseModel):
    seconds: float = Field(ge=0, le=100 * 86_400)


@router.put("/sandbox/jobs/{job_id}/age")
def backdate(job_id: str, age: Age, request: Request) -> Response:
    """Move a finished request and its charge into the past by so many seconds.

    404 if it does not exist, 409 while it is under way.
    """
    sandbox, earlier = of(request), timedelta(seconds=age.seconds)
    job = sandbox.jobs.get(job_id)
    if job is None:
        raise HTTPException(404, "no such request")
    if job.ended_at is None:
        raise HTTPException(409, "the request is under way")
    times = {"created_at": job.created_at, "started_at": job.started_at, "ended_at": job.ended_at}
    sandbox.jobs.change(job_id, **{name: time - earlier for name, time in times.items() if time is not None})
    sandbox.ledger.backdate(job_id, earlier)
    return Response(status_code=204)


class Switch(BaseModel):
    state: State


@router.put("/sandbox/stores/{store}")
def switch(store: Literal["s3", "mongo"], wish: Switch, request: Request) -> Response:
    """Switch a store and wait until it is in that state. Raises HTTPException 404 without supervised stores."""
    switches = Switches(of(request).settings.data)
    if switches.now(store) is None:
        raise HTTPException(404, "the stores do not run beside this sandbox")
    switches.wish(store, wish.state)
    if not switches.wait_for(store, wish.state, SWITCH_S):
        raise HTTPException(504, f"{store} is {switches.now(store)} after {SWITCH_S} s")
    return JSONResponse({"store": store, "state": wish.state})
