"""Bodies of `/api/assets/{jobId}/download` and `/stats`."""

from datetime import datetime

from pydantic import Field

from contentgen_gateway.schemas.bodies import Body, Parameters
from contentgen_gateway.stores.files import LONGEST, PERSON_URL_LIFETIME


class DownloadQuery(Parameters):
    """Which file, and for how long."""

    file: str | None = Field(
        None,
        max_length=64,
        description="Such as transcript.txt; the model, the first picture, the text when left out.",
        examples=["transcript.txt"],
    )
    version: int | None = Field(None, ge=1, le=999_999, description="Of this version; of the newest when left out.")
    expires: int = Field(
        int(PERSON_URL_LIFETIME.total_seconds()),
        ge=1,
        le=int(LONGEST.total_seconds()),
        description="For so many seconds.",
    )


class Download(Body):
    """Where a file can be had without signing in."""

    url: str
    expires_at: datetime
    file: str
    version: int
    size_bytes: int


class AssetStats(Body):
    """What became of an asset."""

    downloads: int = Field(description="How often one of its files was asked for.")
    last_accessed: datetime | None
    storage_cost: float = Field(description="Dollars a month.")
    used_in_jobs: list[str] = Field(description="jobIds of what was or is made with it, of those that you may see.")
