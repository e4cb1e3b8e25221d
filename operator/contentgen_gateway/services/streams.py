"""Progress of a job as a stream of events, until the job ends.

A client that was cut off resumes at its last event. The caller's right to see the job is checked again while the
stream lasts.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

from pymongo.errors import PyMongoError

from contentgen_contract.names import Reason
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.visibility import KINDS, Visibility
from contentgen_gateway.live.job_snapshot import JobSnapshot
from contentgen_gateway.live.jobs import LiveJobs
from contentgen_gateway.live.open_streams import OpenStreams
from contentgen_gateway.live.resources import JobResources
from contentgen_gateway.problems import Problem
from contentgen_gateway.schemas.bodies import Body
from contentgen_gateway.schemas.stream import End, StreamProgress
from contentgen_gateway.services.jobs import state_fields
from contentgen_gateway.stores.queries import JobStatus
from contentgen_gateway.stores.records import Record
from contentgen_runtime.kube import API_ERRORS

_ASK_AGAIN_SECONDS = 60.0
_END = "end"  # prefix of the ids of `end` events
_UNFINISHED = (JobStatus.QUEUED, JobStatus.PROCESSING)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Server-sent event: its name, the id that a client resumes with, and its body."""

    name: str
    id: str
    data: Body


@dataclass(frozen=True, slots=True)
class JobStreams:
    """Streams of jobs that callers may see."""

    visibility: Visibility
    live: LiveJobs
    resources: JobResources
    open_streams: OpenStreams
    most_per_caller: int

    async def follow(
        self, caller: Caller, job_id: str, authenticate: Callable[[], Awaitable[Caller]], last: str | None
    ) -> AsyncGenerator[StreamEvent] | None:
        """Events after the event `last`; None if that was the end. `authenticate` returns the caller once more, later.

        Raises NotFound, or Problem 409 for a running job of another operator class.
        """

        async def read() -> Record:
            return await self.visibility.job(await authenticate(), job_id)

        record = await self.visibility.job(caller, job_id)
        if self.live.get(job_id) is None and _ended(record) and last == end_of_record(record).id:
            return None
        stream = _JobStream(self.live, self.resources, record, read)
        await stream.require_class()
        return stream.events(last)

    def counted(self, caller: Caller) -> AbstractContextManager[None]:
        """Slot of one open stream, for as long as the context lasts. Raises Problem 429 if the caller has no more."""
        return self.open_streams.track(caller.counted_as, self.most_per_caller)


class _JobStream:
    """Stream of one client. `read` returns the job's record after a check of the caller's right to it."""

    def __init__(
        self, live: LiveJobs, resources: JobResources, record: Record, read: Callable[[], Awaitable[Record]]
    ) -> None:
        self._live = live
        self._resources = resources
        self._record = record
        self._read_record = read

    async def require_class(self) -> None:
        """Raises Problem 409 for a running job whose resource belongs to another operator class."""
        if self._live.get(self._record["jobId"]) is None and not _ended(self._record):
            await self._read_resource()

    async def events(self, last: str | None) -> AsyncGenerator[StreamEvent]:
        """Events after the event `last`."""
        try:
            async for event in self._events(last or ""):
                yield event
        except Problem as problem:  # another operator class now: the client's next request gets the reason
            _log.info("a stream is cut: %s", problem)
        except (PyMongoError, *API_ERRORS) as error:  # the client reconnects
            _log.info("a stream is cut: %s", type(error).__name__)

    async def _events(self, last: str) -> AsyncGenerator[StreamEvent]:
        # The reader is opened before the first state is read, so that no change is missed between them.
        with self._live.follow(self._record["jobId"]) as reader:
            now = await self._first(last)
            if now is not None and now.earlier_than(last):
                last = ""  # the API server never had this version: it was restored, or the client invented the id
            sent, ask_at = None, monotonic() + _ASK_AGAIN_SECONDS
            while now is not None and not now.ended:
                progress = progress_of(now)
                if not now.earlier_than(last):
                    # A version may differ only in what events do not contain, such as a condition.
                    if now.version != last and progress != sent:
                        yield StreamEvent("progress", now.version, progress)
                    last, sent = now.version, progress
                with suppress(TimeoutError):
                    # The reader returns None after a deletion, or if the watch has missed changes.
                    now = await reader.next(max(ask_at - monotonic(), 0)) or await self._read_resource()
                if monotonic() >= ask_at:  # also for a job that changes all the time
                    if not await self._still_visible():
                        return
                    ask_at = monotonic() + _ASK_AGAIN_SECONDS
                    if _ended(self._record):
                        now = await self._read_resource()
        if now is None:
            await self._still_visible()
        yield end_of(now) if now is not None else end_of_record(self._record)

    async def _first(self, last: str) -> JobSnapshot | None:
        """First state. It is read from the API server if `last`, from another replica, is later than this replica's
        watch.
        """
        known = self._live.get(self._record["jobId"])
        if known is None and _ended(self._record):
            return None
        behind = known is None or known.earlier_than(last) or last.startswith(_END)
        return await self._read_resource() if behind else known

    async def _read_resource(self) -> JobSnapshot | None:
        """State of the resource; None if it is gone. Raises Problem 409 if it belongs to another operator class."""
        kind, namespace, name = KINDS[self._record["type"]], self._record.get("namespace"), self._record.get("name")
        body = await self._resources.get(kind, namespace, name) if namespace and name else None
        if body is None or body["metadata"]["uid"] != self._record["jobId"]:
            return None
        self._resources.require_class(body)
        return self._live.add(kind, body)

    async def _still_visible(self) -> bool:
        """False if the caller may no longer see the job; also reads its record again."""
        try:
            self._record = await self._read_record()
        except Problem:
            return False
        return True


def progress_of(now: JobSnapshot) -> StreamProgress:
    """Data of a `progress` event."""
    status, state = now.status, now.state
    return StreamProgress(
        job_id=now.job_id,
        status=now.legacy_status,
        state=state.state,
        badge=state.badge,
        sentence=state.sentence,
        phase=status.phase,
        progress=status.progress,
        stage=status.stage,
        message=status.message,
        eta=status.estimated_completion_time,
    )


def end_of(now: JobSnapshot) -> StreamEvent:
    """The `end` event, from the resource."""
    status, state = now.status, now.state
    end = End(
        job_id=now.job_id,
        status=now.legacy_status,
        state=state.state,
        badge=state.badge,
        sentence=state.sentence,
        reason=status.reason,
        message=status.message,
    )
    return StreamEvent("end", _end_id(status.completion_time), end)


def end_of_record(record: Record) -> StreamEvent:
    """The `end` event, from the record, which outlives the resource."""
    if _ended(record):
        end = End.model_validate(record | state_fields(record))
    else:  # the resource is gone, and the operator has not updated the record yet
        gone = {"status": JobStatus.CANCELLED.value, "reason": Reason.CANCELLED.value, "message": "it was deleted"}
        end = End.model_validate({"jobId": record["jobId"]} | gone | state_fields(gone))
    return StreamEvent("end", _end_id(record.get("completedAt")), end)


def _end_id(completed_at: datetime | None) -> str:
    # Records have no resourceVersion; the time differs from run to run.
    return f"{_END} {completed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if completed_at else _END


def _ended(record: Record) -> bool:
    return record["status"] not in _UNFINISHED
