"""Events of `/api/stream/job/{id}`."""

from datetime import datetime

from contentgen_contract.advice.job_state import State
from contentgen_gateway.schemas.bodies import Body


class StreamProgress(Body):
    """Data of a `progress` event."""

    job_id: str
    status: str
    state: State
    badge: str
    sentence: str
    phase: str | None
    progress: int
    stage: str | None
    message: str | None
    eta: datetime | None


class End(Body):
    """Data of an `end` event."""

    job_id: str
    status: str
    state: State
    badge: str
    sentence: str
    reason: str | None = None
    message: str | None = None
