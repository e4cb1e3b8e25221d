"""Bodies of `/api/orphans`."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from contentgen_contract.names import Kind
from contentgen_gateway.schemas.bodies import Body, JobType, Name, Parameters
from contentgen_gateway.stores.queries import MOST, JobFilter, with_cursor


class OrphanState(StrEnum):
    """State of an orphan."""

    SEARCHED = "searched"
    UNFINISHED = "unfinished"
    KEPT = "kept"
    LOST = "lost"


class OrphanListing(Parameters):
    """Query of the list of orphans."""

    namespace: Name | None = Field(None, description="Only orphans of this namespace.")
    limit: int = Field(MOST, ge=1, le=MOST, description="Entries of a page; the maximum if left out.")
    cursor: str | None = Field(None, max_length=512, description="`nextCursor` of the previous page.")

    def job_filter(self) -> JobFilter:
        """Filter of the records. Raises BadRequest."""
        return with_cursor(JobFilter(list_name="orphans", limit=self.limit), self.cursor)


class Orphan(Body):
    """Purchase whose resource is gone."""

    purchase_id: str
    namespace: str
    type: JobType
    kind: Kind
    name: str
    job_id: str = Field(description="uid of the former resource.")
    user_id: str
    provider: str
    model: str
    request_id: str | None = Field(
        description="The provider's id of the request; null while the operator searches for it."
    )
    state: OrphanState = Field(
        description="`searched`: the reply to the request was lost. `unfinished`: the provider works on it. `kept`: "
        "the provider's response is stored. `lost`: the provider no longer has the result."
    )
    cost: str | None = Field(description="Dollars; null if unknown.", examples=["0.0350"])
    cost_known: bool = Field(description="True if the provider reported the cost; false for an estimate.")
    created_at: datetime
    orphaned_at: datetime = Field(description="Time at which the operator first found the resource gone.")
    kept_until: datetime | None = Field(
        description="Time at which the stored response is deleted; null if none is stored."
    )
    advice: str = Field(description="How to get the result.")


class OrphanList(Body):
    """Page of orphans, newest purchase first."""

    orphans: list[Orphan]
    total: int = Field(description="Entries on all pages.")
    next_cursor: str | None = Field(None, description="Value of `cursor` for the next page; null on the last page.")
