"""What is asked of the collection `jobs`, as values: filter, order and the index that serves it. Pure.

Everything from outside is a typed value here, and goes into a filter as one: no text of a caller becomes a key, and
where a document could be taken for an operator it is compared with `$eq`.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from contentgen_contract.names import Kind
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.models import names_of
from contentgen_gateway.problems import BadRequest

Filter = dict[str, Any]
Sort = tuple[tuple[str, int], ...]
MOST = 200  # records of a page
_LONGEST = 253  # characters of a jobId
NOT_DISCARDED = {"discard": {"$exists": False}}
NOTHING: Filter = {"namespace": {"$in": []}}
EVERYWHERE = ""
"""All namespaces, in place of a namespace's name: as in a SubjectAccessReview."""


class Sorted(StrEnum):
    """What lists are ordered by."""

    CREATED = "createdAt"
    STARTED = "startedAt"
    COMPLETED = "completedAt"
    PROGRESS = "progress"
    STATUS = "status"
    TYPE = "type"


class Order(StrEnum):
    """In which direction."""

    NEWEST = "desc"
    OLDEST = "asc"


class JobStatus(StrEnum):
    """The seeds' words."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def in_namespaces(names: Iterable[str], tenants: Mapping[str, Tenant]) -> list[Filter]:
    """The alternatives of a filter: everything that is now of one of these namespaces."""
    scoped = [name for name in sorted(names) if tenants.get(name, _UNSCOPED).scopes != _UNSCOPED.scopes]
    unscoped = sorted(set(names).difference(scoped))
    # The embedded server scans, and a list of one takes it longer than one value.
    either: list[Filter] = []
    if unscoped:
        either.append({"namespace": unscoped[0] if len(unscoped) == 1 else {"$in": unscoped}, "tenant": None})
    return either + [tenants[name].filter(name) for name in scoped]


_UNSCOPED = Tenant()


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a caller may look: kinds by namespace, single jobs that were shared, and what is public."""

    namespaces: Mapping[str, frozenset[Kind]] = field(default_factory=dict)
    jobs: tuple[str, ...] = ()
    public: bool = False
    only: str | None = None  # of what is public, this namespace's
    tenants: Mapping[str, Tenant] = field(default_factory=dict)  # those that are missing have no scope
    incomplete: bool = False  # there is more that is shared than one list asks Kubernetes about

    @property
    def nothing(self) -> bool:
        """Nothing may be seen."""
        return not (self.namespaces or self.jobs or self.public)

    def filter(self) -> Filter:
        """As a filter of records."""
        whole = sorted(name for name, kinds in self.namespaces.items() if kinds == frozenset(Kind))
        if EVERYWHERE in whole:
            return {}
        either = in_namespaces(whole, self.tenants)
        for name, kinds in sorted(self.namespaces.items()):
            if name not in whole:
                types = sorted(kind.record_type for kind in kinds)
                either += [each | {"type": {"$in": types}} for each in self._within(name)]
        if self.jobs:
            either.append({"jobId": {"$in": list(self.jobs)}})
        if self.public:
            either += [each | {"metadata.isPublic": True} for each in self._within(self.only or EVERYWHERE)]
        return either[0] if len(either) == 1 else {"$or": either}

    def _within(self, name: str) -> list[Filter]:
        return in_namespaces([name], self.tenants) if name != EVERYWHERE else [{}]


Place = tuple[datetime | str | int | None, str]
"""In an ordered list: what a record is ordered by, and its jobId."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a list should hold."""

    list_name: str = "jobs"  # a cursor is good for the list that gave it
    user_id: str | None = None
    type: str | None = None
    status: JobStatus | None = None
    model: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    tags: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()  # all of them, and the last may be the beginning of a word
    sort: Sorted = Sorted.CREATED
    order: Order = Order.NEWEST
    limit: int = MOST
    after: Place | None = None
    made: bool = False  # only what has outputs


@dataclass(frozen=True, slots=True)
class Query:
    """One find."""

    filter: Filter
    sort: Sort
    limit: int
    index: str


def listing(scope: Scope, wanted: JobFilter) -> Query:
    """The query for a page of a list."""
    conditions: list[Filter] = [scope.filter(), NOT_DISCARDED, *_conditions(wanted)]
    direction = -1 if wanted.order is Order.NEWEST else 1
    sort = ((wanted.sort.value, direction), ("jobId", direction))
    if wanted.after is not None:
        conditions.append(_beyond(wanted, wanted.after))
    return Query(every(conditions), sort, min(wanted.limit, MOST), _index(scope, wanted))


def counting(scope: Scope, wanted: JobFilter) -> Filter:
    """All that the pages of a list hold together."""
    return every([scope.filter(), NOT_DISCARDED, *_conditions(wanted)])


def every(conditions: Iterable[Filter]) -> Filter:
    """What meets all of them: flat where it can be, which a server without indexes is through with in half the time."""
    flat: Filter = {}
    rest: list[Filter] = []
    for each in conditions:
        if flat.keys() & each.keys():
            rest.append(each)
        else:
            flat |= each
    return flat | ({"$and": rest} if rest else {})


def _conditions(wanted: JobFilter) -> list[Filter]:
    found: list[Filter] = []
    for key, value in (("userId", wanted.user_id), ("type", wanted.type)):
        if value is not None:
            found.append({key: value})
    if wanted.model is not None:
        found.append({"config.model": {"$in": list(names_of(wanted.model))}})
    if wanted.made:
        # What a later resource has adopted is listed as that one's.
        found += [{"versions.0": {"$exists": True}}, {"adoptedBy": {"$exists": False}}]
    if wanted.status is not None:
        found.append({"status": wanted.status.value})
    period = {"$gte": wanted.since, "$lt": wanted.until}
    if period := {key: value for key, value in period.items() if value is not None}:
        found.append({"createdAt": period})
    found += [{"metadata.tags": {"$eq": tag}} for tag in wanted.tags]
    if wanted.terms:
        *whole, last = wanted.terms
        found += [{"terms": {"$eq": term}} for term in whole]
        # One and the same word, and not one beyond each end.
        found.append({"terms": {"$elemMatch": {"$gte": last, "$lt": last + "\U0010ffff"}}})
    return found


def _index(scope: Scope, wanted: JobFilter) -> str:
    """Which of the indexes serves it: what selects most comes first."""
    if wanted.terms:
        return "terms_created"
    if wanted.tags:
        return "tags_created"
    if not scope.filter():
        return "user_created" if wanted.user_id else "created"
    if wanted.user_id:
        return "namespace_user_created"
    if wanted.type:
        return "namespace_type_created"
    return "namespace_status_created" if wanted.status else "namespace_created"


# Cursors: the list, its order, and where the last page ended. They hold nothing secret, and each is checked when read.


def cursor_after(record: Mapping[str, Any], wanted: JobFilter) -> str:
    """Of the page that follows on a record."""
    value = record.get(wanted.sort.value)
    told = value.isoformat() if isinstance(value, datetime) else value
    return (
        base64.urlsafe_b64encode(json.dumps([_ordering(wanted), told, record["jobId"]]).encode()).decode().rstrip("=")
    )


def _beyond(wanted: JobFilter, place: Place) -> Filter:
    key, than = wanted.sort.value, "$lt" if wanted.order is Order.NEWEST else "$gt"
    value, job = place
    same = {key: {"$eq": value}, "jobId": {than: job}}
    if value is None:  # what has no value sorts lowest
        beyond = {} if wanted.order is Order.NEWEST else {key: {"$ne": None}}
        return {"$or": [same, beyond]} if beyond else same
    either = [{key: {than: value}}, same]
    if wanted.order is Order.NEWEST:
        either.append({key: {"$eq": None}})
    return {"$or": either}


def continued(wanted: JobFilter, cursor: str | None) -> JobFilter:
    """What follows on the page before; the first page where there is no cursor. Raises BadRequest."""
    return wanted if cursor is None else replace(wanted, after=_place(cursor, wanted))


def _place(given: str, wanted: JobFilter) -> Place:
    """Where a page ended. Raises BadRequest for the cursor of another list or order, which would skip entries."""
    try:
        padded = given + "=" * (-len(given) % 4)
        ordering, value, job = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
        if ordering != _ordering(wanted):
            raise ValueError("of another list or order")
        return _value(value, wanted.sort), _text(job)
    except (ValueError, TypeError, OverflowError, RecursionError):
        expected = f"a nextCursor of this list in this order ({wanted.sort.value} {wanted.order.value})"
        raise BadRequest("cursor", given[:80], expected) from None


def _ordering(wanted: JobFilter) -> str:
    return f"{wanted.list_name}.{wanted.sort.value}.{wanted.order.value}"


def _value(given: object, sort: Sorted) -> datetime | str | int | None:
    """A value that MongoDB can compare with. Raises ValueError, OverflowError."""
    if given is None:
        return None
    if sort is Sorted.PROGRESS:
        if isinstance(given, bool) or not isinstance(given, int) or abs(given) >= 2**63:
            raise ValueError("no 64-bit number")
        return given
    text = _text(given)
    return text if sort in (Sorted.STATUS, Sorted.TYPE) else _moment(text)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment.astimezone(UTC)


def _text(given: object) -> str:
    if not isinstance(given, str) or len(given) > _LONGEST:
        raise ValueError("no text, or too long")
    given.encode()  # half of a surrogate pair cannot be stored, nor compared with
    return given
