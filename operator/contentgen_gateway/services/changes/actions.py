"""Actions on an existing job: cancel, run again, collect again, approve, reject, resume.

Each writes an annotation or a field of the resource. The operator acts on it and reports the outcome in the status.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from contentgen_contract.advice import guidance
from contentgen_contract.advice.job_state import JobState, State, state_of_resource
from contentgen_contract.annotations.approve_run import approval_of, rejection_of
from contentgen_contract.names import (
    CANCEL_ANNOTATION,
    CHANGED_BY_ANNOTATION,
    COLLECT_ANNOTATION,
    GROUP,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Phase,
    Verdict,
)
from contentgen_contract.resources.status import ResourceStatus
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Authorizer, Verb
from contentgen_gateway.live.jobs import LiveJobs
from contentgen_gateway.problems import Problem
from contentgen_gateway.schemas.changes import Asked, Cancelled, Decided, Resumed, ViewedAction
from contentgen_gateway.services.changes.editable_job import EditableJob, EditableJobs, annotated
from contentgen_gateway.services.run_state import (
    Estimate,
    JobRunState,
    collect_annotation,
    estimate_of,
    is_dry_run,
    is_suspended,
    require_amount,
    require_cancellable,
    require_estimated,
    require_resubmit_token,
    require_retryable,
    require_waiting,
)
from contentgen_runtime.clock import Clock
from contentgen_runtime.kube import Body

_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Quote:
    """Price of another run, which a person confirms before it is started."""

    run: int  # the number of the run that would begin, or that waits for another payment
    estimate: Estimate | None  # None: unknown
    resubmit: str | None  # the purchase whose reply was lost, and which may have been paid already
    free: tuple[str, ...] = ()  # free remedies, in sentences
    pays: bool = True  # False: a dry run, which ends with its estimate


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """Run that waits for an approval, with its price."""

    number: int
    version: int  # of its prepared files
    estimate: Estimate | None  # None: unknown
    attempts: int  # payments that the approval allows
    amount: str  # upper bound of them all, which the approval names
    facts: dict[str, Any]  # of the free stages


@dataclass(frozen=True, slots=True)
class JobActions:
    """Actions of callers on jobs."""

    jobs: EditableJobs
    authorizer: Authorizer
    live: LiveJobs
    clock: Clock

    async def cancel(self, caller: Caller, job_id: str, wait: float) -> Cancelled:
        """Request the cancellation of the run, and wait up to `wait` seconds for it. Raises Problem."""
        job = await self.jobs.load(caller, job_id, Verb.PATCH)
        number = 0

        def make_patch(body: Body) -> Body | None:
            nonlocal number
            state = JobRunState.parse(body)
            number = state.number if state.cancelled else require_cancellable(state)
            if state.cancelled:
                return None
            return annotated(body, {CANCEL_ANNOTATION: str(number), CHANGED_BY_ANNOTATION: caller.name})

        body = await self._patched(job, make_patch)
        state, until = JobRunState.parse(body), time.monotonic() + wait
        while not (state.ended and state.number == number) and time.monotonic() < until:
            await asyncio.sleep(_POLL_SECONDS)
            body = _require_resource(job, await self.jobs.resource(job))
            state = JobRunState.parse(body)
        return _outcome(job, state, state_of_resource(body))

    async def run_again(
        self,
        caller: Caller,
        job_id: str,
        resubmit: str | None = None,
        run: int | None = None,
        *,
        paid: bool = False,
    ) -> Asked:
        """Write the annotation that allows a payment, or with `paid` remove spec.dryRun after an estimate.

        Refused if `run` is given and another run begins. Raises Problem.
        """
        job = await self._load_payable(caller, job_id)
        if resubmit is not None:
            make_patch = _resubmission(caller, resubmit)
        else:
            make_patch = _paid_run(caller, run) if paid else _rerun(caller, run, self.clock)
        body = await self._patched(job, make_patch)
        return Asked(job_id=job_id, state=_state(body), status="queued", run=JobRunState.parse(body).current)

    async def quote(self, caller: Caller, job_id: str, *, paid: bool = False) -> Quote:
        """Run that `run_again` would begin, and its price; writes nothing. Raises Problem as `run_again` does, and 409
        if another run is requested already.
        """
        job = await self._load_payable(caller, job_id)
        body = _require_resource(job, await self.jobs.resource(job))
        state = JobRunState.parse(body)
        token, facts = state.resubmit_token, guidance.Facts.parse(body.get("status") or {})
        free = guidance.free_advice_lines(facts, body["metadata"]["name"])
        if token is not None:
            return Quote(state.number, estimate_of(body), token, free)
        require_retryable(state, body)
        if state.asked_again:
            raise Problem(409, "another run is requested already, and begins soon")
        if paid:
            require_estimated(state, body)
        return Quote(state.number + 1, estimate_of(body), None, free, pays=paid or not is_dry_run(body))

    async def _load_payable(self, caller: Caller, job_id: str) -> EditableJob:
        """Raises Problem 403, with the missing rule of a Role, if the caller lacks the verb `spend`."""
        job = await self.jobs.load(caller, job_id, Verb.PATCH)
        kind, namespace, name = job.place
        if not await self.authorizer.may(caller, Verb.SPEND, kind, namespace, name):
            detail = (
                f"another run of the job {job_id!r} costs money, and {caller.name} lacks the verb spend on "
                f"{kind.plural} in the namespace {namespace!r}; this rule of a Role there grants it: "
                f"apiGroups: [{GROUP}], resources: [{kind.plural}], verbs: [{Verb.SPEND}]"
            )
            raise Problem(403, detail)
        return job

    async def collect(self, caller: Caller, job_id: str) -> Asked:
        """Have the paid result of a failed run fetched again. Raises Problem 409 if there is none."""
        job = await self.jobs.load(caller, job_id, Verb.PATCH)

        def make_patch(body: Body) -> Body | None:
            value = collect_annotation(JobRunState.parse(body), body)
            if value is None:
                return None
            return annotated(body, {COLLECT_ANNOTATION: value, CHANGED_BY_ANNOTATION: caller.name})

        body = await self._patched(job, make_patch)
        return Asked(job_id=job_id, state=_state(body), status="processing", run=JobRunState.parse(body).number)

    async def decide(
        self, caller: Caller, job_id: str, verdict: Verdict, run: int | None = None, amount: str | None = None
    ) -> Decided:
        """Approve or reject the run that waits. Refused if `run` is given and another run waits.

        `amount`: the one that the caller was shown, without which nothing is approved. Raises Problem.
        """
        job = await self._load_approvable(caller, job_id)
        number = 0

        def make_patch(body: Body) -> Body | None:
            nonlocal number
            state = JobRunState.parse(body)
            number = require_waiting(state, run)
            given, token = body["metadata"].get("annotations") or {}, secrets.token_hex(4)
            if verdict is Verdict.APPROVED:
                verdicts = approval_of(number, require_amount(state, amount), caller.name, given, token)
            else:
                verdicts = rejection_of(number, caller.name, given, token)
            return annotated(body, verdicts | {CHANGED_BY_ANNOTATION: caller.name})

        body = await self._patched(job, make_patch)
        return Decided(job_id=job_id, state=_state(body), status=JobRunState.parse(body).legacy_status, run=number)

    async def waiting(self, caller: Caller, job_id: str) -> WaitingRun:
        """The run that `decide` would approve or reject; writes nothing. Raises Problem as `decide` does."""
        job = await self._load_approvable(caller, job_id)
        body = _require_resource(job, await self.jobs.resource(job))
        state = JobRunState.parse(body)
        number = require_waiting(state, None)
        run = ResourceStatus.model_validate(body["status"]).run
        if run is None or state.amount is None:
            raise Problem(409, f"the run {number} of the job {job_id!r} cannot be read")
        attempts = run.spec.get("paidAttempts")
        allowed = max((attempts if isinstance(attempts, int) else 1) - run.paid_attempt + 1, 1)
        return WaitingRun(number, run.version, estimate_of(body), allowed, state.amount, run.facts or {})

    async def _load_approvable(self, caller: Caller, job_id: str) -> EditableJob:
        """Raises Problem 403, with the missing rule of a Role, if the caller lacks the verb `approve`."""
        job = await self.jobs.load(caller, job_id, Verb.PATCH)
        kind, namespace, name = job.place
        if not await self.authorizer.may(caller, Verb.APPROVE, kind, namespace, name):
            detail = (
                f"a run of the job {job_id!r} is approved or rejected with the verb approve, which {caller.name} lacks "
                f"on {kind.plural} in the namespace {namespace!r}; this rule of a Role there grants it: "
                f"apiGroups: [{GROUP}], resources: [{kind.plural}], verbs: [{Verb.APPROVE}]"
            )
            raise Problem(403, detail)
        return job

    async def resume(self, caller: Caller, job_id: str) -> Resumed:
        """Clear `spec.suspend`. No change if the job is not suspended. Raises Problem."""
        job = await self.jobs.load(caller, job_id, Verb.PATCH)

        def make_patch(body: Body) -> Body | None:
            if not is_suspended(body):
                return None
            return annotated(body, {CHANGED_BY_ANNOTATION: caller.name}) | {"spec": {"suspend": False}}

        body = await self._patched(job, make_patch)
        state = JobRunState.parse(body)
        return Resumed(job_id=job_id, state=_state(body), status=state.legacy_status, phase=state.phase)

    async def _patched(self, job: EditableJob, make_patch: Callable[[Body], Body | None]) -> Body:
        body = _require_resource(job, await self.jobs.patch(job, make_patch))
        with suppress(ValueError):  # unreadable, as for the watch: the change is made nevertheless
            self.live.add(job.kind, body)  # lists and pages of this replica show the request at once
        return body


def _require_resource(job: EditableJob, body: Body | None) -> Body:
    if body is None:
        raise Problem(
            409,
            f"the resource of the job {job.job_id!r} is deleted: it has no run, and none can be started",
        )
    return body


def _state(body: Body) -> State:
    return state_of_resource(body).state


def _outcome(job: EditableJob, state: JobRunState, now: JobState) -> Cancelled:
    return Cancelled(
        job_id=job.job_id,
        state=now.state,
        status=state.legacy_status,
        phase=state.phase,
        reason=state.reason,
        message=state.message,
        actions=[ViewedAction.of(action) for action in now.actions],
        billed=_billed(state),
    )


def _billed(state: JobRunState) -> bool | None:
    """None if unknown: it is recorded for cancelled runs only."""
    if not state.ended:
        return None
    finished = state.phase == Phase.COMPLETED and state.billed is None
    return True if finished else state.billed


def _rerun(caller: Caller, run: int | None, clock: Clock) -> Callable[[Body], Body | None]:
    def make_patch(body: Body) -> Body | None:
        state = JobRunState.parse(body)
        require_retryable(state, body)
        _require_next(state, run)
        if state.asked_again:  # two simultaneous requests pay for one run
            return None
        token = f"{clock().isoformat(timespec='seconds')}-{secrets.token_hex(4)}"
        return annotated(body, {RERUN_ANNOTATION: token, CHANGED_BY_ANNOTATION: caller.name})

    return make_patch


def _paid_run(caller: Caller, run: int | None) -> Callable[[Body], Body | None]:
    def make_patch(body: Body) -> Body | None:
        state = JobRunState.parse(body)
        require_retryable(state, body)
        _require_next(state, run)
        if state.asked_again:
            return None
        require_estimated(state, body)
        return annotated(body, {CHANGED_BY_ANNOTATION: caller.name}) | {"spec": {"dryRun": None}}

    return make_patch


def _require_next(state: JobRunState, run: int | None) -> None:
    if run is not None and run != state.number + 1:
        raise Problem(409, f"run {state.number} has begun since the price was shown; open the job's page again")


def _resubmission(caller: Caller, given: str) -> Callable[[Body], Body | None]:
    def make_patch(body: Body) -> Body | None:
        require_resubmit_token(JobRunState.parse(body), given)
        return annotated(body, {RESUBMIT_ANNOTATION: given, CHANGED_BY_ANNOTATION: caller.name})

    return make_patch
