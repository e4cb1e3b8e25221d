"""Queries of the MongoDB collection `jobs`: filter, sort order, and the index that serves them. Pure.

No operator injection: callers' input is parsed into typed values, never becomes a key of a filter, and is compared with
`$eq` where a document could be read as an operator.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from contentgen_contract.names import Kind
from contentgen_contract.records.searching import Condition
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.models import names_of
from contentgen_gateway.problems import BadRequest
from contentgen_gateway.stores.state_filters import StateFilter, state_filter

Filter = dict[str, Any]
Sort = tuple[tuple[str, int], ...]
MOST = 200  # records per page
_MAX_JOB_ID_LENGTH = 253  # characters of a jobId
NOT_DISCARDED = {"discard": {"$exists": False}}
NOTHING: Filter = {"namespace": {"$in": []}}
EVERYWHERE = ""
"""All namespaces, in place of a namespace's name: as in a SubjectAccessReview."""


class Sorted(StrEnum):
    """Sort field of a list."""

    CREATED = "createdAt"
    STARTED = "startedAt"
    COMPLETED = "completedAt"
    PROGRESS = "progress"
    STATUS = "status"
    TYPE = "type"
    NAME = "name"
    USER = "userId"
    COST = "cost"
    UPDATED = "updatedAt"

    @property
    def field(self) -> str:
        """Field of a record."""
        return "costMicros" if self is Sorted.COST else self.value


class Order(StrEnum):
    """Sort direction of a list."""

    NEWEST = "desc"
    OLDEST = "asc"


class JobStatus(StrEnum):
    """Job status as in the legacy API."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def in_namespaces(names: Iterable[str], tenants: Mapping[str, Tenant]) -> list[Filter]:
    """Filters, one of which matches each document of the present tenants of these namespaces."""
    scoped = [name for name in sorted(names) if tenants.get(name, _UNSCOPED).scopes != _UNSCOPED.scopes]
    unscoped = sorted(set(names).difference(scoped))
    # The embedded server scans, and `$in` with one value is slower than equality.
    either: list[Filter] = []
    if unscoped:
        either.append({"namespace": unscoped[0] if len(unscoped) == 1 else {"$in": unscoped}, "tenant": None})
    return either + [tenants[name].filter(name) for name in scoped]


_UNSCOPED = Tenant()


@dataclass(frozen=True, slots=True)
class Scope:
    """Read scope of a caller: kinds by namespace, shared jobs by id, and public jobs."""

    namespaces: Mapping[str, frozenset[Kind]] = field(default_factory=dict)
    jobs: tuple[str, ...] = ()
    public: bool = False
    only: str | None = None  # limits public jobs to this namespace
    tenants: Mapping[str, Tenant] = field(default_factory=dict)  # namespaces that are missing here are unscoped
    incomplete: bool = False  # some shares were left out, to limit the access reviews of one list

    @property
    def nothing(self) -> bool:
        """True if the scope is empty."""
        return not (self.namespaces or self.jobs or self.public)

    def filter(self) -> Filter:
        """MongoDB filter of the records in this scope."""
        whole = sorted(name for name, kinds in self.namespaces.items() if kinds == frozenset(Kind))
        if EVERYWHERE in whole:
            return {}
        either = in_namespaces(whole, self.tenants)
        for name, kinds in sorted(self.namespaces.items()):
            if name not in whole:
                types = sorted(kind.record_type for kind in kinds)
                either += [condition | {"type": {"$in": types}} for condition in self._within(name)]
        if self.jobs:
            either.append({"jobId": {"$in": list(self.jobs)}})
        if self.public:
            either += [condition | {"metadata.isPublic": True} for condition in self._within(self.only or EVERYWHERE)]
        return either[0] if len(either) == 1 else {"$or": either}

    def _within(self, name: str) -> list[Filter]:
        return in_namespaces([name], self.tenants) if name != EVERYWHERE else [{}]


Cursor = tuple[datetime | str | int | None, str]
"""Position in a sorted list: a record's value of the sort field, and its jobId."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Filter, sort order and page of a list."""

    list_name: str = "jobs"  # a cursor is only valid for the list that issued it
    user_id: str | None = None
    type: str | None = None
    status: JobStatus | None = None
    state: StateFilter | None = None
    approvable: Mapping[str, frozenset[Kind]] | None = None  # by the caller, for `StateFilter.NEEDS_ME`; None: any
    deleting: frozenset[str] = frozenset()  # ids of jobs whose state is `deleting`, for `state`
    model: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    tags: tuple[str, ...] = ()
    terms: tuple[Condition, ...] = ()  # all must be met
    across: tuple[Condition, ...] = ()  # or all of these
    sort: Sorted = Sorted.CREATED
    order: Order = Order.NEWEST
    limit: int = MOST
    after: Cursor | None = None
    made: bool = False  # only jobs with outputs
    ended_without_result: bool = False  # only failed and cancelled jobs


@dataclass(frozen=True, slots=True)
class Query:
    """Arguments of one MongoDB find; `index` is the name of the index that serves it."""

    filter: Filter
    sort: Sort
    limit: int
    index: str


def page_query(scope: Scope, wanted: JobFilter) -> Query:
    """Query of one page of a list."""
    conditions: list[Filter] = [scope.filter(), NOT_DISCARDED, *_conditions(wanted)]
    direction = -1 if wanted.order is Order.NEWEST else 1
    sort = ((wanted.sort.field, direction), ("jobId", direction))
    if wanted.after is not None:
        conditions.append(_after_cursor(wanted, wanted.after))
    return Query(all_of(conditions), sort, min(wanted.limit, MOST), _index(scope, wanted))


def count_filter(scope: Scope, wanted: JobFilter) -> Filter:
    """Filter of all pages of a list together."""
    return all_of([scope.filter(), NOT_DISCARDED, *_conditions(wanted)])


def all_of(conditions: Iterable[Filter]) -> Filter:
    """AND of the filters; flattened where their keys don't collide, which is twice as fast without indexes."""
    flat: Filter = {}
    rest: list[Filter] = []
    for condition in conditions:
        if flat.keys() & condition.keys():
            rest.append(condition)
        else:
            flat |= condition
    return flat | ({"$and": rest} if rest else {})


def _conditions(wanted: JobFilter) -> list[Filter]:
    found: list[Filter] = []
    for key, value in (("userId", wanted.user_id), ("type", wanted.type)):
        if value is not None:
            found.append({key: value})
    if wanted.model is not None:
        found.append({"config.model": {"$in": list(names_of(wanted.model))}})
    if wanted.made:
        # Outputs that a later resource has adopted are listed under that resource.
        found += [{"versions.0": {"$exists": True}}, {"adoptedBy": {"$exists": False}}]
    if wanted.status is not None:
        found.append({"status": wanted.status.value})
    if wanted.state is not None:
        found.append(state_filter(wanted.state, wanted.approvable, wanted.deleting))
    if wanted.ended_without_result:
        found.append({"status": {"$in": [JobStatus.FAILED.value, JobStatus.CANCELLED.value]}})
    period = {"$gte": wanted.since, "$lt": wanted.until}
    if period := {key: value for key, value in period.items() if value is not None}:
        found.append({"createdAt": period})
    found += [{"metadata.tags": {"$eq": tag}} for tag in wanted.tags]
    met = [
        [_condition(condition) for condition in conditions]
        for conditions in (wanted.terms, wanted.across)
        if conditions
    ]
    return found + (met[0] if len(met) == 1 else [{"$or": [{"$and": condition} for condition in met]}] if met else [])


def _condition(alternatives: Condition) -> Filter:
    # $elemMatch: one term must be within both bounds, not two terms within one bound each.
    either: list[Filter] = [
        {"terms": {"$elemMatch": {"$gte": alternative.text, "$lt": alternative.text + "\U0010ffff"}}}
        for alternative in alternatives
        if alternative.prefix
    ]
    if whole := [alternative.text for alternative in alternatives if not alternative.prefix]:
        either.append({"terms": {"$eq": whole[0]} if len(whole) == 1 else {"$in": whole}})
    return either[0] if len(either) == 1 else {"$or": either}


def _index(scope: Scope, wanted: JobFilter) -> str:
    """Name of the index that serves the query; the most selective filter decides."""
    if wanted.terms or wanted.tags:
        return "terms_created" if wanted.terms else "tags_created"
    by_status = wanted.status is not None or wanted.state is not None
    if not scope.filter():
        return "user_created" if wanted.user_id else "status_created" if by_status else "created"
    if wanted.user_id:
        return "namespace_user_created"
    if wanted.sort is not Sorted.CREATED:
        return f"namespace_by_{wanted.sort.field}"
    if wanted.type:
        return "namespace_type_created"
    return "namespace_status_created" if by_status else "namespace_created"


# Cursors: base64 of the list, its sort order, and the last entry. Not secret; validated when decoded.


def cursor_after(record: Mapping[str, Any], wanted: JobFilter) -> str:
    """Cursor of the page after this record."""
    value = record.get(wanted.sort.field)
    encoded = value.isoformat() if isinstance(value, datetime) else value
    return (
        base64.urlsafe_b64encode(json.dumps([_order_name(wanted), encoded, record["jobId"]]).encode())
        .decode()
        .rstrip("=")
    )


def _after_cursor(wanted: JobFilter, cursor: Cursor) -> Filter:
    key, than = wanted.sort.field, "$lt" if wanted.order is Order.NEWEST else "$gt"
    value, job = cursor
    same = {key: {"$eq": value}, "jobId": {than: job}}
    if value is None:  # MongoDB sorts null lowest
        beyond = {} if wanted.order is Order.NEWEST else {key: {"$ne": None}}
        return {"$or": [same, beyond]} if beyond else same
    either = [{key: {than: value}}, same]
    if wanted.order is Order.NEWEST:
        either.append({key: {"$eq": None}})
    return {"$or": either}


def with_cursor(wanted: JobFilter, cursor: str | None) -> JobFilter:
    """The filter with its cursor; the first page if `cursor` is None. Raises BadRequest."""
    return wanted if cursor is None else replace(wanted, after=_decode_cursor(cursor, wanted))


def _decode_cursor(given: str, wanted: JobFilter) -> Cursor:
    """Decode a cursor. Raises BadRequest, also for one of another list or order, which would skip entries."""
    try:
        padded = given + "=" * (-len(given) % 4)
        ordering, value, job = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
        if ordering != _order_name(wanted):
            raise ValueError("cursor of another list or order")
        return _cursor_value(value, wanted.sort), _cursor_text(job)
    except (ValueError, TypeError, OverflowError, RecursionError):
        expected = f"a nextCursor of this list in this order ({wanted.sort.value} {wanted.order.value})"
        raise BadRequest("cursor", given[:80], expected) from None


def _order_name(wanted: JobFilter) -> str:
    return f"{wanted.list_name}.{wanted.sort.value}.{wanted.order.value}"


def _cursor_value(given: object, sort: Sorted) -> datetime | str | int | None:
    """The value as the stored type of the sort field. Raises ValueError, OverflowError."""
    if given is None:
        return None
    if sort in (Sorted.PROGRESS, Sorted.COST):
        if isinstance(given, bool) or not isinstance(given, int) or abs(given) >= 2**63:
            raise ValueError("not a 64-bit integer")
        return given
    text = _cursor_text(given)
    return text if sort in (Sorted.STATUS, Sorted.TYPE, Sorted.NAME, Sorted.USER) else _parse_time(text)


def _parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone")
    return moment.astimezone(UTC)


def _cursor_text(given: object) -> str:
    if not isinstance(given, str) or len(given) > _MAX_JOB_ID_LENGTH:
        raise ValueError("not a text, or too long")
    given.encode()  # raises for a lone surrogate, which MongoDB cannot store or compare
    return given
