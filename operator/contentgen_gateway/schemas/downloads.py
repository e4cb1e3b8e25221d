"""Bodies of `/api/assets/{jobId}/download` and `/stats`."""

from datetime import datetime

from pydantic import Field

from contentgen_gateway.schemas.bodies import Body, Parameters
from contentgen_gateway.stores.files import LONGEST, PERSON_URL_LIFETIME


class DownloadQuery(Parameters):
    """File, and lifetime of its URL."""

    file: str | None = Field(
        None,
        max_length=64,
        description="Name, such as transcript.txt; if left out the model, the first picture or the text.",
        examples=["transcript.txt"],
    )
    version: int | None = Field(None, ge=1, le=999_999, description="Version; the newest if left out.")
    expires: int = Field(
        int(PERSON_URL_LIFETIME.total_seconds()),
        ge=1,
        le=int(LONGEST.total_seconds()),
        description="Lifetime of the URL in seconds.",
    )


class Download(Body):
    """URL of a file, which needs no sign-in."""

    url: str
    expires_at: datetime
    file: str
    version: int
    size_bytes: int


class AssetStats(Body):
    """Downloads, storage cost and uses of an asset."""

    downloads: int = Field(description="Number of downloads of its files.")
    last_accessed: datetime | None
    storage_cost: float = Field(description="Dollars per month.")
    used_in_jobs: list[str] = Field(description="jobIds of jobs that use it, as far as you may see them.")
