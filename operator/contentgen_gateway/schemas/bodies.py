"""The bodies of the API: what the seeds promise, field by field, and what we add to it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from contentgen_contract import patterns
from contentgen_gateway.schemas.refusals import NAME, nearest
from contentgen_gateway.stores.queries import MOST, JobFilter, JobStatus, Order, Sorted, continued

JobType = Literal["lora-training", "image-generation", "transcription"]
Name = Annotated[str, StringConstraints(pattern=NAME, max_length=253)]
UserId = Annotated[str, StringConstraints(pattern=patterns.USER_ID, max_length=63)]
Incomplete = Annotated[
    bool,
    Field(
        description="True where some of what others share may be missing: jobs are shared with more namespaces than "
        "one list asks Kubernetes about, or over 500 with you. Name the namespace that shares them with `namespace`."
    ),
]


def _iso(given: object) -> object:
    """pydantic would take any number for seconds since 1970."""
    if isinstance(given, str) and not _DAY.match(given):
        raise ValueError("expected a day or a time with its zone, such as 2026-11-21 or 2026-11-21T12:00:00Z")
    return given


def _in_utc(given: datetime | date) -> datetime | date:
    """MongoDB keeps times in UTC, where the first and the last hours of other zones do not exist."""
    if not isinstance(given, datetime):
        return given
    try:
        return given.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time between the years 1 and 9999 in UTC") from None


_DAY = re.compile(r"\d{4}-\d\d-\d\d(T|$)")
Moment = Annotated[AwareDatetime | date, BeforeValidator(_iso), AfterValidator(_in_utc)]


class Body(BaseModel):
    """Fields in camel case, both ways."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class Job(Body):
    """A job's record: the seeds' document, and what we know besides."""

    model_config = ConfigDict(extra="ignore")

    job_id: str
    user_id: str
    type: JobType
    namespace: str | None = None
    name: str | None = None
    source_video: dict[str, Any] | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    versions: list[dict[str, Any]] = Field(default_factory=list)
    status: str
    phase: str | None = None
    progress: int = 0
    stage: str | None = None
    reason: str | None = None
    message: str | None = None
    error: str | None = None
    estimated_completion_time: datetime | None = None
    cost: dict[str, Any] | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class JobList(Body):
    """A page of jobs."""

    jobs: list[Job]
    total: int = Field(description="How many there are on all pages.")
    next_cursor: str | None = Field(None, description="Give it as `cursor` for the next page; null on the last.")
    incomplete: Incomplete = False


class Parameters(Body):
    """What a query may hold. A parameter that nobody knows is refused: `?userid=` would list everybody's."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        known = [each.alias or name for name, each in cls.model_fields.items()]
        for name in given if isinstance(given, Mapping) else ():
            if name not in known and name not in cls.model_fields:
                raise PydanticCustomError("unknown_parameter", "{told}", {"told": _unknown(str(name)[:64], known)})
        return given


def _unknown(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known)
    told = f"did you mean {near!r}?" if near is not None else f"there are {', '.join(sorted(known))}"
    return f"there is no parameter {name!r}; {told}"


class Paging(Parameters):
    """What every list takes: whose, from when, in which order, and how much of it at a time."""

    list_name: ClassVar[str] = "jobs"
    namespace: Name | None = Field(None, description="Of this namespace alone.")
    user_id: UserId | None = Field(None, description="Of this user alone.")
    public: bool = Field(False, description="Also what others have made public.")
    since: Moment | None = Field(None, alias="from", description="Made at this time or later.")
    until: Moment | None = Field(None, alias="to", description="Made before this time.")
    sort: Sorted = Sorted.CREATED
    order: Order = Order.NEWEST
    # The first service's clients count what they get, and know of no pages.
    limit: int = Field(MOST, ge=1, le=MOST, description="Entries of a page; without it as many as a page may have.")
    cursor: str | None = Field(None, max_length=512, description="`nextCursor` of the page before.")

    def job_filter(self) -> JobFilter:
        """As a value. Raises BadRequest."""
        wanted = JobFilter(
            list_name=self.list_name,
            user_id=self.user_id,
            since=instant(self.since),
            until=instant(self.until),
            sort=self.sort,
            order=self.order,
            limit=self.limit,
        )
        return continued(wanted, self.cursor)


class Listing(Paging):
    """What a list of jobs should hold."""

    type: JobType | None = None
    status: JobStatus | None = None

    def job_filter(self) -> JobFilter:
        """As a value. Raises BadRequest."""
        return replace(super().job_filter(), type=self.type, status=self.status)


def instant(given: datetime | date | None) -> datetime | None:
    """A day begins at midnight in UTC."""
    if given is None or isinstance(given, datetime):
        return given
    return datetime(given.year, given.month, given.day, tzinfo=UTC)
