"""The bodies of `/api/collections`."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from contentgen_gateway.schemas.bodies import Body, JobType, Name, Parameters, UserId
from contentgen_gateway.schemas.refusals import TITLE
from contentgen_gateway.stores.collections import MOST_ASSETS

Title = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=TITLE)]
_STRICT = ConfigDict(extra="forbid")


class AssetRef(Body):
    """One job."""

    model_config = _STRICT

    type: JobType | None = Field(None, description="Checked where it is given.")
    job_id: Name


Assets = Annotated[list[AssetRef], Field(max_length=MOST_ASSETS)]


class NewCollection(Body):
    """A collection to be."""

    model_config = _STRICT

    namespace: Name | None = Field(None, description="Where it lies; a service account's own if left out.")
    user_id: UserId | None = Field(None, description="Whose it is; the namespace when left out.")
    name: Title
    description: str = Field("", max_length=1024)
    assets: Assets = Field(default_factory=list)


class CollectionEdit(Body):
    """What changes; the rest stays."""

    model_config = _STRICT

    name: Title | None = None
    description: str | None = Field(None, max_length=1024)
    assets: Assets | None = Field(None, description="All of them.")

    @model_validator(mode="after")
    def _something(self) -> "CollectionEdit":
        if not self.model_fields_set:
            raise ValueError("at least one of name, description, assets must be given")
        return self


class MoreAssets(Body):
    """Jobs to put in."""

    model_config = _STRICT

    assets: Annotated[list[AssetRef], Field(min_length=1, max_length=MOST_ASSETS)]


class CollectionSummary(Body):
    """A collection, and how much of it the caller may see."""

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
    """With the jobs in it."""

    assets: list[AssetRef]


class CollectionList(Body):
    """A page of collections, the newest first."""

    collections: list[CollectionSummary]
    total: int = Field(description="How many there are on all pages.")
    next_cursor: str | None = Field(None, description="Give it as `cursor` for the next page; null on the last.")


class CollectionListing(Parameters):
    """Which collections."""

    namespace: Name | None = Field(None, description="Of this namespace alone.")
    user_id: UserId | None = Field(None, description="Of this user alone.")
    limit: int = Field(20, ge=1, le=50)
    cursor: str | None = Field(None, max_length=512, description="`nextCursor` of the page before.")
