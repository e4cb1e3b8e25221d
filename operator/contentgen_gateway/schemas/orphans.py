"""Bodies of `/api/orphans`."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from contentgen_contract.names import Kind
from contentgen_gateway.schemas.bodies import Body, JobType, Name, Parameters
from contentgen_gateway.stores.queries import MOST, JobFilter, continued


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

    def job_filter(self) -> JobFilter:
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
