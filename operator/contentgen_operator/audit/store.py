"""The audit's part of MongoDB: it reads the ledger and its bindings, and writes the collection `audits` alone.

pymongo is synchronous, so each call runs in a thread. Raises PyMongoError.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from pymongo import DESCENDING
from pymongo.collection import Collection
from pymongo.database import Database

from contentgen_contract.base import Value
from contentgen_contract.records import indexes
from contentgen_contract.records.audits import KEPT, AuditReport, AuditRequest, request_id
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_operator.audit.facts import AuditedPurchase
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.state.purchases import Purchase
from contentgen_runtime.mongo import create_indexes
from contentgen_runtime.stores import in_thread

Document = dict[str, Any]
_MOST = 50_000  # purchases of the audited time
_AT_ONCE = 500  # values of one query
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNUSED = {"outputs": False, "sentInput": False, "loras": False, "formerOwners": False}


class ReadPurchases(Value):
    """Purchases that were read; `complete` False: there are more, or some are malformed."""

    entries: tuple[AuditedPurchase, ...]
    complete: bool


class AuditedLedger:
    """The collections `ledger` and `request_bindings`, read only."""

    def __init__(self, database: Database[Document]) -> None:
        self._ledger: Collection[Document] = database["ledger"]
        self._bindings: Collection[Document] = database["request_bindings"]

    @in_thread
    def since(self, moment: datetime) -> ReadPurchases:
        """Purchases that were planned since, the newest 50,000."""
        found = list(
            self._ledger.find({"createdAt": {"$gte": moment}}, _UNUSED).sort("createdAt", DESCENDING).limit(_MOST + 1)
        )
        entries = tuple(_entries(found[:_MOST]))
        return ReadPurchases(entries=entries, complete=len(entries) == len(found))

    @in_thread
    def of_requests(self, request_ids: Iterable[str]) -> tuple[AuditedPurchase, ...]:
        """Purchases of any age with these request ids."""
        return self._having("requestId", sorted(set(request_ids)))

    @in_thread
    def of_correlation_keys(self, keys: Iterable[str]) -> tuple[AuditedPurchase, ...]:
        """Purchases of any age with these correlation keys."""
        return self._having("correlationKey", sorted(set(keys)))

    def _having(self, field: str, values: list[str]) -> tuple[AuditedPurchase, ...]:
        found = (self._ledger.find({field: {"$in": part}}, _UNUSED) for part in _slices(values))
        return tuple(entry for document in found for entry in _entries(document))

    @in_thread
    def bound_requests(self, identities: Iterable[str]) -> frozenset[str]:
        """Those of `provider/request id` that are bound to a purchase."""
        slices = _slices(sorted(set(identities)))
        found = (self._bindings.find({"_id": {"$in": part}}, {"_id": True}) for part in slices)
        return frozenset(str(binding["_id"]) for bindings in found for binding in bindings)


class Audits:
    """The collection `audits`: the newest reports, and the request of a person for another one."""

    def __init__(
        self, database: Database[Document], check: Check = unchecked, operator_class: str = DEFAULT_CLASS
    ) -> None:
        """`check` raises Conflict if this process does not lead. `operator_class` is this installation's."""
        self._collection: Collection[Document] = database["audits"]
        self._check = check
        self._class: Document = {"operatorClass": operator_class}
        self._request_id = request_id(operator_class)

    def create_indexes(self) -> None:
        """Create the indexes. Idempotent."""
        create_indexes(self._collection, indexes.AUDITS)

    @in_thread
    def last(self) -> AuditReport | None:
        """Newest report; None if there is none, or it cannot be read."""
        newest = (
            self._collection.find(self._class | {"finishedAt": {"$gt": _EPOCH}}).sort("finishedAt", DESCENDING).limit(1)
        )
        return next((_report(document) for document in newest), None)

    @in_thread
    def request(self) -> AuditRequest | None:
        """Request of a person that no report answers; None if there is none."""
        found = self._collection.find_one({"_id": self._request_id})
        try:
            return AuditRequest.model_validate(_aware(found)) if found is not None else None
        except ValidationError:
            return None

    @in_thread
    def store(self, report: AuditReport) -> None:
        """Add a report, delete the request that it answers and the oldest reports. Raises Conflict."""
        self._check()
        document = report.model_dump(mode="python", by_alias=True)
        self._collection.insert_one({"_id": report.report_id, **self._class, **_plain(document)})
        if report.request is not None:
            self._collection.delete_one({"_id": self._request_id, "token": report.request})
        mine = self._class | {"finishedAt": {"$gt": _EPOCH}}
        kept = self._collection.find(mine, {"_id": True}).sort("finishedAt", DESCENDING)
        old = [each_document["_id"] for each_document in kept.skip(KEPT)]
        if old:
            self._collection.delete_many({"_id": {"$in": old}})


def _slices(values: list[str]) -> Iterator[list[str]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))


def _entries(found: Iterable[Document]) -> Iterator[AuditedPurchase]:
    for document in found:
        try:
            yield AuditedPurchase(key=str(document["_id"]), purchase=Purchase.model_validate(_aware(document)))
        except ValidationError:
            continue


def _report(document: Document) -> AuditReport | None:
    try:
        return AuditReport.model_validate(_aware(document))
    except ValidationError:
        return None


def _aware(value: Any) -> Any:
    match value:
        case dict():
            return {name: _aware(member) for name, member in value.items()}
        case list():
            return [_aware(element) for element in value]
        case datetime() if value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        case _:
            return value


def _plain(value: Any) -> Any:
    """Value without tuples and enumerations, which BSON does not have."""
    match value:
        case dict():
            return {name: _plain(member) for name, member in value.items()}
        case list() | tuple():
            return [_plain(element) for element in value]
        case str():
            return str(value)
        case _:
            return value
