"""Bodies of the endpoints that create, change and delete jobs."""

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from contentgen_contract.resources.spec import Tag
from contentgen_gateway.problems import ProblemDetails
from contentgen_gateway.schemas.bodies import Body, JobType


class Made(Body):
    """A job that begins. Its address is in `Location`."""

    job_id: str
    user_id: str
    type: JobType
    namespace: str
    name: str
    status: str
    created_at: datetime


class Cancelled(Body):
    """What became of a job that was cancelled."""

    job_id: str
    status: str = Field(description="`cancelled`; `processing` while the provider is still being asked.")
    phase: str | None
    reason: str | None
    message: str
    billed: bool | None = Field(description="Whether the provider bills it all the same; null where nobody can tell.")


class Asked(Body):
    """What was asked of a job."""

    job_id: str
    status: str
    run: int = Field(description="The number of the run that begins.")


class Resumed(Body):
    """Where a job is that was resumed."""

    job_id: str
    status: str
    phase: str | None


class Edit(Body):
    """What changes; the rest stays."""

    model_config = ConfigDict(extra="forbid")

    tags: list[Tag] = Field(default_factory=list, max_length=32, description="All of them.")
    description: str = Field("", max_length=1024)
    is_public: bool = Field(False, description="Whether everybody with a token may see it, and fetch its files.")

    @model_validator(mode="after")
    def _something(self) -> "Edit":
        if not self.model_fields_set:
            raise ValueError("at least one of tags, description, isPublic must be given")
        return self

    def change(self) -> dict[str, Any]:
        """Only what was given."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class InUse(ProblemDetails):
    """Something was made with it."""

    used_in_jobs: list[str] = Field(alias="usedInJobs", description="Of those, the jobIds that you may see.")


class Deleted(Body):
    """It can't be seen any more, and its files go."""

    job_id: str
    status: str = "deleting"
