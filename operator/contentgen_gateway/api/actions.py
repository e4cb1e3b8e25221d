"""Actions on a job that exists: cancel it, run it again, fetch its result again, resume it. Approving and rejecting
belong here too.

Each is an annotation or a field of the resource: the operator does what it says, and the status tells what came of it.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from contentgen_contract.advice import remedies
from contentgen_contract.names import (
    CANCEL_ANNOTATION,
    CHANGED_BY_ANNOTATION,
    COLLECT_ANNOTATION,
    GROUP,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Phase,
)
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Verb
from contentgen_gateway.problems import CONFLICT, RESPONSES, Problem
from contentgen_gateway.schemas.bodies import Body as Shape
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.services.editable_job import EditableJob, changed, held, served
from contentgen_gateway.services.run_state import (
    Estimate,
    JobRunState,
    annotated,
    estimate_of,
    in_http_terms,
    is_suspended,
    require_token,
    to_cancel,
    to_collect,
    to_retry,
    token_of,
)
from contentgen_runtime.clock import Clock
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


class Resumed(Shape):
    """Where a job is that was resumed."""

    job_id: str
    status: str
    phase: str | None


@dataclass(frozen=True, slots=True)
class Question:
    """Another run that a person is asked about before it is paid for."""

    run: int  # the number of the run that would begin, or that waits for another payment
    estimate: Estimate | None  # None: nobody knows the price
    resubmit: str | None  # the purchase whose reply was lost, and which may have been paid already
    first: tuple[str, ...] = ()  # what helps and pays nothing, in sentences


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
        standing = JobRunState.of(body)
        number = standing.number if standing.cancelled else to_cancel(standing)
        if standing.cancelled:
            return None
        return annotated(body, {CANCEL_ANNOTATION: str(number), CHANGED_BY_ANNOTATION: caller.name})

    standing = JobRunState.of(_there(job, await changed(parts, job, ask)))
    until = time.monotonic() + wait
    while not (standing.ended and standing.number == number) and time.monotonic() < until:
        await asyncio.sleep(_LOOK_SECONDS)
        standing = JobRunState.of(_there(job, await served(parts, job)))
    if not standing.ended:
        response.status_code = 202
    return _outcome(job, standing)


def _outcome(job: EditableJob, standing: JobRunState) -> Cancelled:
    return Cancelled(
        job_id=job.job_id,
        status=standing.word,
        phase=standing.phase,
        reason=standing.reason,
        message=in_http_terms(standing.message, job.job_id),
        billed=_billed(standing),
    )


def _billed(standing: JobRunState) -> bool | None:
    """A run of an older release says so only where it was cancelled."""
    if not standing.ended:
        return None
    finished = standing.phase == Phase.COMPLETED and standing.billed is None
    return True if finished else standing.billed


@router.post("/{job_id}/retry", status_code=202)
async def retry(
    caller: Calling,
    parts: Using,
    job_id: Name,
    resubmit: Annotated[
        str | None, Query(max_length=64, description="Pay once more for a request that nobody can find.")
    ] = None,
) -> Asked:
    """Run it once more, as it is: a new version, which is paid for. Asked for again before it begins, it is one run.

    It needs the verb `spend` on the resource.
    """
    return await run_again(caller, parts, job_id, resubmit)


async def run_again(
    caller: Caller, parts: Dependencies, job_id: str, resubmit: str | None = None, run: int | None = None
) -> Asked:
    """Write the annotation that pays. `run`: only if that is the number of the run that begins. Raises Problem."""
    job = await _payable(caller, parts, job_id)
    ask = _resubmission(caller, resubmit) if resubmit is not None else _rerun(caller, run, parts.clock)
    body = _there(job, await changed(parts, job, ask))
    return Asked(job_id=job_id, status="queued", run=JobRunState.of(body).current)


async def question(caller: Caller, parts: Dependencies, job_id: str) -> Question:
    """The run that `run_again` would begin, and its price; nothing is written. Raises Problem as `run_again` does."""
    body = _there(job := await _payable(caller, parts, job_id), await served(parts, job))
    standing = JobRunState.of(body)
    token, facts = token_of(standing), remedies.Facts.of(body.get("status") or {})
    free = remedies.free_advice_lines(facts, body["metadata"]["name"])
    if token is not None:
        return Question(standing.number, estimate_of(body), token, free)
    to_retry(standing, body)
    return Question(standing.number + 1, estimate_of(body), None, free)


async def _payable(caller: Caller, parts: Dependencies, job_id: str) -> EditableJob:
    """The job, for a caller who may change it and spend on it. Raises Problem 403 with the rule that a Role lacks."""
    job = await held(caller, parts, job_id, Verb.PATCH)
    kind, namespace, name = job.place
    if not await parts.access.may(caller, Verb.SPEND, kind, namespace, name):
        detail = (
            f"another run of the job {job_id!r} is paid for, and {caller.name} lacks the verb spend on {kind.plural} "
            f"in the namespace {namespace!r}; this rule of a Role there grants it: "
            f"apiGroups: [{GROUP}], resources: [{kind.plural}], verbs: [{Verb.SPEND}]"
        )
        raise Problem(403, detail)
    return job


@router.post("/{job_id}/collect", status_code=202)
async def collect(caller: Calling, parts: Using, job_id: Name) -> Asked:
    """Fetch the paid result of a failed run once more; it costs nothing. 409 where the run has not failed, or was not
    paid for.
    """
    job = await held(caller, parts, job_id, Verb.PATCH)

    def ask(body: Body) -> Body | None:
        value = to_collect(JobRunState.of(body), body)
        if value is None:
            return None
        return annotated(body, {COLLECT_ANNOTATION: value, CHANGED_BY_ANNOTATION: caller.name})

    body = _there(job, await changed(parts, job, ask))
    return Asked(job_id=job_id, status="processing", run=JobRunState.of(body).number)


@router.post("/{job_id}/resume")
async def resume(caller: Calling, parts: Using, job_id: Name) -> Resumed:
    """Let a suspended job go on. One that is not suspended stays as it is."""
    job = await held(caller, parts, job_id, Verb.PATCH)

    def ask(body: Body) -> Body | None:
        if not is_suspended(body):
            return None
        return annotated(body, {CHANGED_BY_ANNOTATION: caller.name}) | {"spec": {"suspend": False}}

    standing = JobRunState.of(_there(job, await changed(parts, job, ask)))
    return Resumed(job_id=job_id, status=standing.word, phase=standing.phase)


def _there(job: EditableJob, body: Body | None) -> Body:
    if body is None:
        raise Problem(
            409, f"the resource of the job {job.job_id!r} is gone: nothing is under way, and nothing can be run"
        )
    return body


def _rerun(caller: Caller, run: int | None, clock: Clock) -> Callable[[Body], Body | None]:
    def ask(body: Body) -> Body | None:
        standing = JobRunState.of(body)
        to_retry(standing, body)
        if run is not None and run != standing.number + 1:
            raise Problem(409, f"run {standing.number} has begun since the price was shown; open the job's page again")
        if standing.asked_again:  # two who ask at a time pay for one
            return None
        token = f"{clock().isoformat(timespec='seconds')}-{secrets.token_hex(4)}"
        return annotated(body, {RERUN_ANNOTATION: token, CHANGED_BY_ANNOTATION: caller.name})

    return ask


def _resubmission(caller: Caller, given: str) -> Callable[[Body], Body | None]:
    def ask(body: Body) -> Body | None:
        require_token(JobRunState.of(body), given)
        return annotated(body, {RESUBMIT_ANNOTATION: given, CHANGED_BY_ANNOTATION: caller.name})

    return ask
