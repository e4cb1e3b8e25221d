"""`/api/orphans`: purchases that may be paid, are not collected, and whose resource is gone.

The operator notes in the ledger since when a resource is gone (`orphanedAt`); only it writes there.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field, ValidationError

from contentgen_contract.names import Kind
from contentgen_contract.records.ledger import PurchaseState, legacy_id
from contentgen_contract.records.tenancy import unscoped
from contentgen_contract.resources.prices import BILLED
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Body, JobType, Name, Parameters
from contentgen_gateway.services.dependencies import Calling, Using
from contentgen_gateway.stores import aggregations, queries
from contentgen_gateway.stores.queries import MOST, Filter, JobFilter, Scope, continued, cursor_after, every

router = APIRouter(prefix="/api", tags=["orphans"], responses=RESPONSES)
_MICROS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPEN = [PurchaseState.INTENT.value, PurchaseState.SUBMITTED.value, PurchaseState.SUCCEEDED.value]


class OrphanState(StrEnum):
    """State of an orphan, as the list shows it."""

    SEARCHED = "searched"
    UNFINISHED = "unfinished"
    KEPT = "kept"
    LOST = "lost"


class OrphanListing(Parameters):
    """What a list of orphans should hold."""

    namespace: Name | None = Field(None, description="Of this namespace alone.")
    limit: int = Field(MOST, ge=1, le=MOST, description="Entries of a page; without it as many as a page may have.")
    cursor: str | None = Field(None, max_length=512, description="`nextCursor` of the page before.")

    def wanted(self) -> JobFilter:
        """As a value. Raises BadRequest."""
        return continued(JobFilter(list_name="orphans", limit=self.limit), self.cursor)


class Orphan(Body):
    """A purchase whose resource is gone."""

    purchase_id: str
    namespace: str
    type: JobType
    kind: Kind
    name: str
    job_id: str = Field(description="The uid that the resource had.")
    user_id: str
    provider: str
    model: str
    request_id: str | None = Field(description="The provider's id of the request; null while it is looked for.")
    state: OrphanState = Field(
        description="`searched`: the reply to the request was lost. `unfinished`: the provider works on it. `kept`: "
        "the provider's response is stored. `lost`: the provider had no result any more."
    )
    cost: str | None = Field(description="In dollars; null: unknown.", examples=["0.0350"])
    cost_known: bool = Field(description="By the provider's figures; otherwise it is an estimate.")
    created_at: datetime
    orphaned_at: datetime = Field(description="When the operator first saw that the resource is gone.")
    kept_until: datetime | None = Field(description="When the response is deleted; null: there is none yet.")
    advice: str = Field(description="What to do to have the result.")


class OrphanList(Body):
    """A page of orphans, the newest purchases first."""

    orphans: list[Orphan]
    total: int = Field(description="How many there are on all pages.")
    next_cursor: str | None = Field(None, description="Give it as `cursor` for the next page; null on the last.")


@router.get("/orphans")
async def list_orphans(caller: Calling, parts: Using, listed: Annotated[OrphanListing, Query()]) -> OrphanList:
    """What was paid, or may have been, and has no resource any more: of all that the caller may list."""
    wanted = listed.wanted()
    scope = aggregations.own(await parts.sight.scope(caller, listed.namespace, None))
    if scope.nothing:
        return OrphanList(orphans=[], total=0)
    query = orphans_of(scope, wanted)
    found = await parts.purchases.find(query)
    total = await parts.purchases.count(orphans_of(scope, JobFilter(list_name="orphans")).filter)
    page = found[: query.limit]
    kept = timedelta(days=parts.settings.orphan_retention_days)
    return OrphanList(
        orphans=[each for document in page if (each := orphan(document, kept)) is not None],
        total=total,
        next_cursor=cursor_after(page[-1], wanted) if len(found) > query.limit else None,
    )


def orphans_of(scope: Scope, wanted: JobFilter) -> queries.Query:
    """The query for orphans that may be seen."""
    noted: Filter = {"orphanedAt": {"$gt": _EPOCH}, "state": {"$in": _OPEN}}
    query = queries.listing(scope, wanted)
    return queries.Query(every([query.filter, noted]), query.sort, query.limit, query.index)


def orphan(document: Mapping[str, Any], kept: timedelta) -> Orphan | None:
    """A document of the ledger as the API shows it; None for one that cannot be read."""
    try:
        return _orphan(document, kept)
    except (ValidationError, ValueError, TypeError, KeyError):
        return None


def _orphan(document: Mapping[str, Any], kept: timedelta) -> Orphan:
    place, kind, name, *_ = str(document["_id"]).split("/")
    namespace, _ = unscoped(place)
    state = _state(document)
    at = document["orphanedAt"]
    known = document.get("costSource") in {each.value for each in BILLED} and document.get("actualMicros") is not None
    micros = document.get("actualMicros") if known else document.get("estimatedMicros")
    return Orphan(
        purchase_id=document.get("purchaseId") or legacy_id(str(document["_id"])),
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
    """Exception to the advice: an image asks for another purchase once a LoRA of it was trained again."""
    if not document.get("loras") or _state(document) is OrphanState.LOST:
        return ""
    return "; if a LoRA of it was trained again since, it is drawn anew, and paid"


def _advice(state: OrphanState, kind: Kind, name: str, *, discarded: bool) -> str:
    again = f"apply {kind.value} {name} again with the same spec"
    if state is OrphanState.LOST:
        return "the provider has no result any more; look for the request at its dashboard"
    if discarded:
        return (
            f"it was deleted with deletionPolicy Delete, so its result is discarded when it comes; to have it, {again}"
        )
    if state is OrphanState.SEARCHED:
        return f"{again}: the request is looked for, and nothing is paid until you allow it"
    soon = "" if kind is Kind.TRANSCRIPTION else "; soon, because only the provider has the files"
    return f"{again}: it takes the result and pays nothing{soon}"
