"""Orphans: purchases that may be paid, are not collected, and whose resource is gone.

The operator writes `orphanedAt` to the ledger, which is read-only here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from contentgen_contract.names import Kind
from contentgen_contract.records.ledger import PurchaseState
from contentgen_contract.records.tenancy import unscoped
from contentgen_contract.resources.prices import BILLED
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.schemas.orphans import Orphan, OrphanList, OrphanListing, OrphanState
from contentgen_gateway.stores import aggregations, queries
from contentgen_gateway.stores.queries import Filter, JobFilter, Scope, all_of, cursor_after
from contentgen_gateway.stores.records import Purchases

_MICROS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPEN = [PurchaseState.INTENT.value, PurchaseState.SUBMITTED.value, PurchaseState.SUCCEEDED.value]


@dataclass(frozen=True, slots=True)
class OrphanReader:
    """Orphans in the namespaces that a caller may list. Stored responses are kept for `retention`."""

    visibility: Visibility
    purchases: Purchases
    retention: timedelta

    async def list_orphans(self, caller: Caller, given: OrphanListing) -> OrphanList:
        """Page of orphans. Raises BadRequest."""
        wanted = given.job_filter()
        scope = aggregations.without_shared(await self.visibility.scope(caller, given.namespace, None))
        if scope.nothing:
            return OrphanList(orphans=[], total=0)
        query = orphans_of(scope, wanted)
        found = await self.purchases.find(query)
        total = await self.purchases.count(orphans_of(scope, JobFilter(list_name="orphans")).filter)
        page = found[: query.limit]
        return OrphanList(
            orphans=[each for document in page if (each := orphan(document, self.retention)) is not None],
            total=total,
            next_cursor=cursor_after(page[-1], wanted) if len(found) > query.limit else None,
        )


def orphans_of(scope: Scope, wanted: JobFilter) -> queries.Query:
    """Query for orphans within a scope."""
    noted: Filter = {"orphanedAt": {"$gt": _EPOCH}, "state": {"$in": _OPEN}}
    query = queries.page_query(scope, wanted)
    return queries.Query(all_of([query.filter, noted]), query.sort, query.limit, query.index)


def orphan(document: Mapping[str, Any], kept: timedelta) -> Orphan | None:
    """Body of an orphan from its ledger document; None if the document is invalid."""
    try:
        return _orphan(document, kept)
    except (ValidationError, ValueError, TypeError, KeyError):
        return None


def _orphan(document: Mapping[str, Any], kept: timedelta) -> Orphan:
    place, kind, name, *_ = str(document["_id"]).split("/")
    namespace, _ = unscoped(place)
    state = _state(document)
    at = document["orphanedAt"]
    known = (
        document.get("costSource") in {source.value for source in BILLED} and document.get("actualMicros") is not None
    )
    micros = document.get("actualMicros") if known else document.get("estimatedMicros")
    return Orphan(
        purchase_id=document["purchaseId"],
        namespace=namespace,
        type=Kind(kind).record_type,
        kind=Kind(kind),
        name=name,
        job_id=document["jobId"],
        user_id=document.get("userId") or namespace,
        provider=document["provider"],
        model=document["model"],
        request_id=document.get("requestId"),
        state=state,
        cost=f"{micros / _MICROS:.4f}" if micros is not None else None,
        cost_known=known,
        created_at=document["createdAt"],
        orphaned_at=at,
        kept_until=at + kept if state is OrphanState.KEPT else None,
        advice=_advice(state, Kind(kind), name, discarded=document.get("discardAsked") is True) + _exception(document),
    )


def _state(document: Mapping[str, Any]) -> OrphanState:
    match PurchaseState(document["state"]):
        case PurchaseState.INTENT:
            return OrphanState.SEARCHED
        case PurchaseState.SUBMITTED:
            return OrphanState.UNFINISHED
        case _:
            return OrphanState.KEPT if document.get("resultKey") else OrphanState.LOST


def _exception(document: Mapping[str, Any]) -> str:
    """Exception to the advice: an image whose LoRA was trained again needs another purchase."""
    if not document.get("loras") or _state(document) is OrphanState.LOST:
        return ""
    return "; if a LoRA of it was trained again since, it is generated and paid again"


def _advice(state: OrphanState, kind: Kind, name: str, *, discarded: bool) -> str:
    again = f"apply {kind.value} {name} again with the same spec"
    if state is OrphanState.LOST:
        return "the provider no longer has the result; look for the request in the provider's dashboard"
    if discarded:
        return (
            f"it was deleted with deletionPolicy Delete, so its result will be discarded; to keep the result, {again}"
        )
    if state is OrphanState.SEARCHED:
        return f"{again}: the operator searches for the request, and pays nothing until you allow it"
    soon = "" if kind is Kind.TRANSCRIPTION else "; do it soon, because only the provider has the files"
    return f"{again}: it takes the result and pays nothing{soon}"
