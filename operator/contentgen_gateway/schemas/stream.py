"""Events of `/api/stream/job/{id}`."""

from datetime import datetime

from contentgen_gateway.schemas.bodies import Body


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
