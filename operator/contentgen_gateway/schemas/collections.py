"""Bodies of `/api/collections`."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from contentgen_gateway.schemas.bodies import Body, JobType, Name, Parameters, UserId
from contentgen_gateway.schemas.refusals import TITLE
from contentgen_gateway.stores.collections import MOST_ASSETS

Title = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=TITLE)]
_STRICT = ConfigDict(extra="forbid")


class AssetRef(Body):
    """Reference to a job."""

    model_config = _STRICT

    type: JobType | None = Field(None, description="Type of the job; checked if given.")
    job_id: Name


Assets = Annotated[list[AssetRef], Field(max_length=MOST_ASSETS)]


class NewCollection(Body):
    """New collection."""

    model_config = _STRICT

    namespace: Name | None = Field(None, description="Namespace; a service account's own if left out.")
    user_id: UserId | None = Field(None, description="Owner; the namespace if left out.")
    name: Title
    description: str = Field("", max_length=1024)
    assets: Assets = Field(default_factory=list)


class CollectionEdit(Body):
    """Changed fields; the others stay."""

    model_config = _STRICT

    name: Title | None = None
    description: str | None = Field(None, max_length=1024)
    assets: Assets | None = Field(None, description="All jobs of the collection.")

    @model_validator(mode="after")
    def _something(self) -> "CollectionEdit":
        if not self.model_fields_set:
            raise ValueError("at least one of name, description, assets must be given")
        return self


class MoreAssets(Body):
    """Jobs to add."""

    model_config = _STRICT

    assets: Annotated[list[AssetRef], Field(min_length=1, max_length=MOST_ASSETS)]


class CollectionSummary(Body):
    """Collection, with counts of the jobs that the caller may see."""

    collection_id: str
    namespace: str
    user_id: str
    name: str
    description: str
    asset_count: int
    assets_by_type: dict[JobType, int]
    created_by: str
    created_at: datetime
    updated_at: datetime


class CollectionDetails(CollectionSummary):
    """Collection with its jobs."""

    assets: list[AssetRef]


class CollectionList(Body):
    """Page of collections, newest first."""

    collections: list[CollectionSummary]
    total: int = Field(description="Entries on all pages.")
    next_cursor: str | None = Field(None, description="Value of `cursor` for the next page; null on the last page.")


class CollectionListing(Parameters):
    """Query of the list of collections."""

    namespace: Name | None = Field(None, description="Only collections of this namespace.")
    user_id: UserId | None = Field(None, description="Only collections of this user.")
    limit: int = Field(20, ge=1, le=50)
    cursor: str | None = Field(None, max_length=512, description="`nextCursor` of the previous page.")
