"""What a person does to a job that exists: cancel it, run it again. Approving and rejecting have their place here too.

Each is an annotation on the resource: the operator does what it says, and the resource tells what came of it.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from contentgen_contract.names import CANCEL_ANNOTATION, CHANGED_BY_ANNOTATION, RERUN_ANNOTATION, RESUBMIT_ANNOTATION
from contentgen_gateway.access import Verb
from contentgen_gateway.callers import Caller
from contentgen_gateway.held import Held, changed, held, resource_of
from contentgen_gateway.parts import Calling, Using
from contentgen_gateway.problems import CONFLICT, RESPONSES, BadRequest, Problem
from contentgen_gateway.schemas import Body as Shape
from contentgen_gateway.schemas import Name
from contentgen_gateway.standing import Standing, annotated, to_cancel, to_retry, token_of
from contentgen_runtime.kube import Body

router = APIRouter(
    prefix="/api/jobs",
    tags=["jobs"],
    responses=RESPONSES | CONFLICT,
)
_LOOK_SECONDS = 0.5


class Cancelled(Shape):
    """What became of a job that was cancelled."""

    job_id: str
    status: str = Field(description="`cancelled`; `processing` while the provider is still being asked.")
    phase: str | None
    reason: str | None
    message: str
    billed: bool | None = Field(description="Whether the provider bills it all the same; null where nobody can tell.")


class Asked(Shape):
    """What was asked of a job."""

    job_id: str
    status: str
    run: int = Field(description="The number of the run that begins.")


@router.post("/{job_id}/cancel", responses={202: {"model": Cancelled, "description": "The provider is being asked."}})
async def cancel(
    caller: Calling,
    parts: Using,
    response: Response,
    job_id: Name,
    wait: Annotated[float, Query(ge=0, le=25, description="Seconds to wait for the answer.")] = 10,
) -> Cancelled:
    """End the run; the job and its record stay. Before it is paid that is free; after it the provider is asked."""
    job = await held(caller, parts, job_id, Verb.PATCH)
    number = 0

    def ask(body: Body) -> Body | None:
        nonlocal number
        standing = Standing.of(body)
        number = standing.number if standing.cancelled else to_cancel(standing)
        if standing.cancelled:
            return None
        return annotated(body, {CANCEL_ANNOTATION: str(number), CHANGED_BY_ANNOTATION: caller.name})

    standing = Standing.of(_there(job, await changed(parts, job, ask)))
    until = time.monotonic() + wait
    while not (standing.ended and standing.number == number) and time.monotonic() < until:
        await asyncio.sleep(_LOOK_SECONDS)
        standing = Standing.of(_there(job, await resource_of(parts, job)))
    if not standing.ended:
        response.status_code = 202
    return _outcome(job, standing)


def _outcome(job: Held, standing: Standing) -> Cancelled:
    return Cancelled(
        job_id=job.job_id,
        status=standing.word,
        phase=standing.phase,
        reason=standing.reason,
        message=standing.message,
        billed=(standing.billed if standing.cancelled else True) if standing.ended else None,
    )


@router.post("/{job_id}/retry", status_code=202)
async def retry(
    caller: Calling,
    parts: Using,
    job_id: Name,
    resubmit: Annotated[
        str | None, Query(pattern="^[0-9a-f]{1,16}$", description="Pay once more for a request that nobody can find.")
    ] = None,
) -> Asked:
    """Run it once more, as it is: a new version, which is paid for. Asked for again before it begins, it is one run."""
    job = await held(caller, parts, job_id, Verb.PATCH)
    ask = _resubmission(caller, resubmit) if resubmit is not None else _rerun(caller)
    body = _there(job, await changed(parts, job, ask))
    return Asked(job_id=job_id, status="queued", run=Standing.of(body).current)


def _there(job: Held, body: Body | None) -> Body:
    if body is None:
        raise Problem(
            409, f"the resource of the job {job.job_id!r} is gone: nothing is under way, and nothing can be run"
        )
    return body


def _rerun(caller: Caller) -> Callable[[Body], Body | None]:
    def ask(body: Body) -> Body | None:
        standing = Standing.of(body)
        to_retry(standing, (body.get("spec") or {}).get("suspend") is True)
        if standing.asked_again:  # two who ask at a time pay for one
            return None
        token = f"{datetime.now(UTC).isoformat(timespec='seconds')}-{secrets.token_hex(4)}"
        return annotated(body, {RERUN_ANNOTATION: token, CHANGED_BY_ANNOTATION: caller.name})

    return ask


def _resubmission(caller: Caller, given: str) -> Callable[[Body], Body | None]:
    def ask(body: Body) -> Body | None:
        if given != token_of(Standing.of(body)):
            raise BadRequest("resubmit", given, "the word that the job's message names; see GET /api/jobs/{jobId}")
        return annotated(body, {RESUBMIT_ANNOTATION: given, CHANGED_BY_ANNOTATION: caller.name})

    return ask
