"""`/api/stream/job/{id}`: progress of a job as server-sent events."""

import random
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from contentgen_gateway.injection import CallerDep, ServicesDep, caller_of
from contentgen_gateway.problems import CONFLICT, RESPONSES
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.services.streams import StreamEvent

router = APIRouter(prefix="/api", tags=["jobs"], responses=RESPONSES)
_EVENT = {
    "type": "object",
    "description": "Event.",
    "properties": {name: {"type": "string"} for name in ("event", "id", "data")} | {"retry": {"type": "integer"}},
}
_DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`progress` events: {jobId, status, phase, progress, stage, message, eta}; then one `end` "
        "event: {jobId, status, reason, message}. Comments keep the connection open.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    },
    204: {"description": "The event of Last-Event-ID was the end of the job."},
}


@router.get("/stream/job/{job_id}", response_class=Response, responses=_DESCRIBED | CONFLICT)
async def stream_job(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    last_event_id: Annotated[
        str | None, Header(max_length=128, description="Id of the last event that the client received.")
    ] = None,
) -> Response:
    """Stream the progress of a job until it ends."""
    events = await services.streams.follow(caller, job_id, partial(caller_of, request), last_event_id)
    if events is None:
        return Response(status_code=204)  # a browser's EventSource stops reconnecting
    return _CountedStream(_sent(events), services.streams.counted(caller))


class _CountedStream(EventSourceResponse):
    """Stream that counts among its caller's open ones from the first byte on until it is over, however it ends."""

    def __init__(self, events: AsyncGenerator[ServerSentEvent], counted: AbstractContextManager[None]) -> None:
        super().__init__(events)
        self._counted = counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Problem 429 before anything is sent."""
        with self._counted:
            await super().__call__(scope, receive, send)


async def _sent(events: AsyncGenerator[StreamEvent]) -> AsyncGenerator[ServerSentEvent]:
    # Clients that were cut off together should not reconnect together.
    yield ServerSentEvent(retry=random.randint(1000, 5000))  # noqa: S311 - no secret
    async for event in events:
        yield ServerSentEvent(event.data.model_dump_json(by_alias=True), event=event.name, id=event.id)
