"""`/api/stream/job/{id}`: a job's progress as Server-Sent Events, until it ends.

A stream that is cut goes on where it was (Last-Event-ID); one whose job has ended says so and closes. The right to see
the job is asked for again while the stream lasts.
"""

import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from pymongo.errors import PyMongoError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from contentgen_contract.names import Reason
from contentgen_gateway.auth.visibility import KINDS
from contentgen_gateway.live.job_snapshot import JobSnapshot
from contentgen_gateway.problems import CONFLICT, RESPONSES, Problem
from contentgen_gateway.schemas.bodies import Body, Name
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using, caller_of
from contentgen_gateway.stores.queries import JobStatus
from contentgen_gateway.stores.records import Record
from contentgen_runtime.kube import API_ERRORS

_ASK_AGAIN_SECONDS = 60.0
_END = "end"  # what the ids of `end` events begin with
_UNFINISHED = (JobStatus.QUEUED, JobStatus.PROCESSING)
_log = logging.getLogger(__name__)
router = APIRouter(prefix="/api", tags=["jobs"], responses=RESPONSES)


class StreamProgress(Body):
    """What a `progress` event holds."""

    job_id: str
    status: str
    phase: str | None
    progress: int
    stage: str | None
    message: str | None
    eta: datetime | None


class End(Body):
    """What an `end` event holds."""

    job_id: str
    status: str
    reason: str | None = None
    message: str | None = None


_EVENT = {
    "type": "object",
    "description": "One event.",
    "properties": {name: {"type": "string"} for name in ("event", "id", "data")} | {"retry": {"type": "integer"}},
}
_DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`progress` events: {jobId, status, phase, progress, stage, message, eta}; at last an `end`: "
        "{jobId, status, reason, message}. Comments in between keep the connection open.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    },
    204: {"description": "The event of Last-Event-ID was the end: there is nothing more to come."},
}


@router.get("/stream/job/{job_id}", response_class=Response, responses=_DESCRIBED | CONFLICT)
async def stream_job(
    request: Request,
    caller: Calling,
    parts: Using,
    job_id: Name,
    last_event_id: Annotated[str | None, Header(max_length=128, description="Where a stream was cut.")] = None,
) -> Response:
    """Follow a job: its progress whenever it moves, and its end."""
    record = await parts.sight.job(caller, job_id)
    if parts.live.get(job_id) is None and _ended(record) and last_event_id == end_of_record(record).id:
        return Response(status_code=204)  # what makes a browser stop asking

    async def again() -> Record:
        return await parts.sight.job(await caller_of(request, parts), job_id)

    follower = _Follower(parts, record, again)
    await follower.require_class()
    held = parts.streams.one(caller.counted_as, parts.settings.gateway_streams_per_caller)
    return _Held(follower.events(last_event_id), held)


class _Held(EventSourceResponse):
    """Counts among its caller's from the first byte on until it is over, however it ends."""

    def __init__(self, events: AsyncGenerator[ServerSentEvent], held: AbstractContextManager[None]) -> None:
        super().__init__(events)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Problem 429 before anything is sent."""
        with self._held:
            await super().__call__(scope, receive, send)


class _Follower:
    """One client's way along a job."""

    def __init__(self, parts: Dependencies, record: Record, again: Callable[[], Awaitable[Record]]) -> None:
        self._parts = parts
        self._record = record
        self._again = again

    async def require_class(self) -> None:
        """Raises Problem 409 for a job under way whose resource is of another operator class."""
        if self._parts.live.get(self._record["jobId"]) is None and not _ended(self._record):
            await self._read()

    async def events(self, last: str | None) -> AsyncGenerator[ServerSentEvent]:
        """What follows on the event `last`."""
        # Clients that were cut off together should not come back together.
        yield ServerSentEvent(retry=random.randint(1000, 5000))  # noqa: S311 - no secret
        try:
            async for event in self._from(last or ""):
                yield event
        except Problem as problem:  # moved to another class: asked again, it is refused with a reason
            _log.info("a stream is cut: %s", problem)
        except (PyMongoError, *API_ERRORS) as error:  # the client comes again
            _log.info("a stream is cut: %s", type(error).__name__)

    async def _from(self, last: str) -> AsyncGenerator[ServerSentEvent]:
        # From before the first look on: nothing is missed.
        with self._parts.live.reader(self._record["jobId"]) as reader:
            now = await self._first(last)
            if now is not None and now.earlier_than(last):
                last = ""  # the API server has no such version: it was restored, or the client made the id up
            told, ask_at = None, monotonic() + _ASK_AGAIN_SECONDS
            while now is not None and not now.ended:
                progress = progress_of(now)
                if not now.earlier_than(last):
                    # A write of what events don't tell, such as a condition, makes a new version as well.
                    if now.version != last and progress != told:
                        yield _event("progress", now.version, progress)
                    last, told = now.version, progress
                with suppress(TimeoutError):
                    # None is told where it was deleted, or the watch has missed how it went on.
                    now = await reader.next(max(ask_at - monotonic(), 0)) or await self._read()
                if monotonic() >= ask_at:  # also of a job that moves all the time
                    if not await self._seen():
                        return
                    ask_at = monotonic() + _ASK_AGAIN_SECONDS
                    if _ended(self._record):
                        now = await self._read()
        if now is None:
            await self._seen()
        yield end_of(now) if now is not None else end_of_record(self._record)

    async def _first(self, last: str) -> JobSnapshot | None:
        """The state to begin with; the API server's, where the event `last` of another replica is later than what this
        one knows from its watch.
        """
        known = self._parts.live.get(self._record["jobId"])
        if known is None and _ended(self._record):
            return None
        behind = known is None or known.earlier_than(last) or last.startswith(_END)
        return await self._read() if behind else known

    async def _read(self) -> JobSnapshot | None:
        """The resource itself, where it is still there. Raises Problem 409 for one of another operator class."""
        kind, namespace, name = KINDS[self._record["type"]], self._record.get("namespace"), self._record.get("name")
        body = await self._parts.resources.get(kind, namespace, name) if namespace and name else None
        if body is None or body["metadata"]["uid"] != self._record["jobId"]:
            return None
        self._parts.resources.require_class(body)
        return self._parts.live.note(kind, body)

    async def _seen(self) -> bool:
        """Whether the client may still see it; its record is read anew."""
        try:
            self._record = await self._again()
        except Problem:
            return False
        return True


def progress_of(now: JobSnapshot) -> StreamProgress:
    """How far it is."""
    status = now.status
    return StreamProgress(
        job_id=now.job_id,
        status=now.word,
        phase=status.phase,
        progress=status.progress,
        stage=status.stage,
        message=status.message,
        eta=status.estimated_completion_time,
    )


def end_of(now: JobSnapshot) -> ServerSentEvent:
    """How it ended."""
    status = now.status
    told = End(job_id=now.job_id, status=now.word, reason=status.reason, message=status.message)
    return _event("end", _end_id(status.completion_time), told)


def end_of_record(record: Record) -> ServerSentEvent:
    """The same from the record, which outlives the resource."""
    if _ended(record):
        told = End.model_validate(record)
    else:  # its resource is gone, and the operator has not written so yet
        told = End(
            job_id=record["jobId"], status=JobStatus.CANCELLED, reason=Reason.CANCELLED, message="it was deleted"
        )
    return _event("end", _end_id(record.get("completedAt")), told)


def _end_id(completed_at: datetime | None) -> str:
    # A record knows no resourceVersion, and a job that runs again has another end.
    return f"{_END} {completed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if completed_at else _END


def _event(name: str, id_: str, told: Body) -> ServerSentEvent:
    return ServerSentEvent(told.model_dump_json(by_alias=True), event=name, id=id_)


def _ended(record: Record) -> bool:
    return record["status"] not in _UNFINISHED
