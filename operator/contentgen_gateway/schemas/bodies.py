"""Bodies and queries shared by the endpoints: the fields of the legacy API, and our additions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from contentgen_contract import patterns
from contentgen_contract.advice.job_state import State
from contentgen_gateway.schemas.refusals import NAME, nearest
from contentgen_gateway.stores.queries import MOST, JobFilter, JobStatus, Order, Sorted, with_cursor
from contentgen_gateway.stores.state_filters import StateFilter

JobType = Literal["lora-training", "image-generation", "transcription"]
Name = Annotated[str, StringConstraints(pattern=NAME, max_length=253)]
UserId = Annotated[str, StringConstraints(pattern=patterns.USER_ID, max_length=63)]
Incomplete = Annotated[
    bool,
    Field(
        description="True if some shared jobs may be missing: more namespaces share jobs than one list checks, "
        "or more than 500 with you. Give the namespace that shares them as `namespace`."
    ),
]


def _iso(given: object) -> object:
    """Refuses plain numbers, which pydantic would read as seconds since 1970."""
    if isinstance(given, str) and not _DAY.match(given):
        raise ValueError("expected a day or a time with its zone, such as 2026-11-21 or 2026-11-21T12:00:00Z")
    return given


def _in_utc(given: datetime | date) -> datetime | date:
    """MongoDB stores times in UTC, where the first and last hours of other zones cannot be represented."""
    if not isinstance(given, datetime):
        return given
    try:
        return given.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time between the years 1 and 9999 in UTC") from None


_DAY = re.compile(r"\d{4}-\d\d-\d\d(T|$)")
Moment = Annotated[AwareDatetime | date, BeforeValidator(_iso), AfterValidator(_in_utc)]


class Body(BaseModel):
    """Body with camel-case fields."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class Job(Body):
    """Record of a job: the document of the legacy API, with our additions."""

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
    status: str = Field(description="Status of the legacy API; `state` distinguishes more.")
    state: State
    badge: str = Field(description="State in two or three words.")
    sentence: str = Field(description="State in a sentence.")
    needs_person: bool = Field(description="Whether nothing happens until a person acts.")
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
    updated_at: datetime | None = Field(
        None,
        description="Time of the last change of the record, other than a download; null for a record that an earlier "
        "release wrote last.",
    )


class JobQueue(Body):
    """Place of a job in the queue before its payment."""

    queued: bool = Field(description="Whether the job waits for a place.")
    position: int | None = Field(
        None, description="Position among the waiting jobs of the namespace and provider, from 1; approximate."
    )
    waiting: int | None = Field(None, description="Waiting jobs of the namespace and provider.")
    provider: str | None = None
    reason: str | None = None
    message: str | None = Field(None, description="Limit that the job waits for.")


class JobList(Body):
    """Page of jobs."""

    jobs: list[Job]
    total: int = Field(description="Entries on all pages.")
    next_cursor: str | None = Field(None, description="Value of `cursor` for the next page; null on the last page.")
    incomplete: Incomplete = False


class Parameters(Body):
    """Query parameters. Unknown ones are refused: ignoring `?userid=` would list everybody's jobs."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for name in given if isinstance(given, Mapping) else ():
            if name not in known and name not in cls.model_fields:
                raise PydanticCustomError(
                    "unknown_parameter", "{message}", {"message": _unknown(str(name)[:64], known)}
                )
        return given


def _unknown(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known)
    hint = f"did you mean {near!r}?" if near is not None else f"there are {', '.join(sorted(known))}"
    return f"there is no parameter {name!r}; {hint}"


class Period(Parameters):
    """Query by the time of creation. A day is one of UTC; as the last one it is included."""

    since: Moment | None = Field(None, alias="from", description="Created at or after this time, or since this day.")
    until: Moment | None = Field(None, alias="to", description="Created before this time, or on or before this day.")

    @field_validator("until")
    @classmethod
    def _ordered(cls, until: datetime | date | None, info: ValidationInfo) -> datetime | date | None:
        begin, end = _begin(info.data.get("since")), _end(until)
        if begin is not None and end is not None and (begin > end if isinstance(until, datetime) else begin >= end):
            raise ValueError("must not be before `from`")
        return until

    @property
    def begin(self) -> datetime | None:
        """First instant of the period, in UTC; None without one."""
        return _begin(self.since)

    @property
    def end(self) -> datetime | None:
        """First instant after the period, in UTC; None without one."""
        return _end(self.until)


class Paging(Period):
    """Query of every list: namespace, user, period, order and page."""

    list_name: ClassVar[str] = "jobs"
    namespace: Name | None = Field(None, description="Only jobs of this namespace.")
    user_id: UserId | None = Field(None, description="Only jobs of this user.")
    public: bool = Field(False, description="Include public jobs of others.")
    sort: Sorted = Field(
        Sorted.CREATED,
        description="Field of the order; entries with the same value are in the order of `jobId`. Entries without a "
        "value, such as an unknown cost, are the first of an ascending list, and the last of a descending one. `cost`: "
        "of the last run, or its estimate. `name` and `userId`: in the order of their bytes.",
    )
    order: Order = Field(Order.NEWEST, description="Descending, such as the newest first, or ascending.")
    # Clients of the legacy API count the entries and do not paginate.
    limit: int = Field(MOST, ge=1, le=MOST, description="Entries of a page; the maximum if left out.")
    cursor: str | None = Field(None, max_length=512, description="`nextCursor` of the previous page.")

    def job_filter(self) -> JobFilter:
        """Filter of the records. Raises BadRequest."""
        wanted = JobFilter(
            list_name=self.list_name,
            user_id=self.user_id,
            since=self.begin,
            until=self.end,
            sort=self.sort,
            order=self.order,
            limit=self.limit,
        )
        return with_cursor(wanted, self.cursor)


STATE = Field(
    None,
    description="Only jobs in this state; `waiting` and `running` include the more specific ones. `needs-me`: jobs for "
    "which nothing happens until a person acts, and runs whose approval you may give.",
)


class Listing(Paging):
    """Query of a list of jobs."""

    type: JobType | None = None
    status: JobStatus | None = None
    state: StateFilter | None = STATE

    def job_filter(self) -> JobFilter:
        """Filter of the records. Raises BadRequest."""
        return replace(super().job_filter(), type=self.type, status=self.status, state=self.state)


def _begin(given: datetime | date | None) -> datetime | None:
    if given is None or isinstance(given, datetime):
        return given
    return datetime(given.year, given.month, given.day, tzinfo=UTC)


def _end(given: datetime | date | None) -> datetime | None:
    if given == date.max:  # no time follows this day
        return None
    return _begin(given if given is None or isinstance(given, datetime) else given + timedelta(days=1))
