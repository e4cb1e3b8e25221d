"""Bodies of the endpoints that create, change and delete jobs."""

from datetime import datetime
from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from contentgen_contract.advice.job_state import State
from contentgen_contract.advice.permitted_actions import Does, PermittedAction
from contentgen_contract.resources.spec import Tag
from contentgen_gateway.problems import ProblemDetails
from contentgen_gateway.schemas.bodies import Body, JobType


class Made(Body):
    """Created job; the header `Location` has its address."""

    job_id: str
    user_id: str
    type: JobType
    namespace: str
    name: str
    state: State
    status: str
    created_at: datetime


class ViewedAction(Body):
    """Action that the state of the job permits."""

    action: Does
    pays: bool = Field(description="Whether a payment follows.")
    costs: str = Field(description="The payment in words.")

    @classmethod
    def of(cls, permitted: PermittedAction) -> Self:
        """The permitted action in the API's words."""
        return cls(action=permitted.does, pays=permitted.pays, costs=permitted.costs.value)


class JobActionsBody(Body):
    """State of a job and the actions that the caller may take."""

    job_id: str
    state: State
    badge: str
    sentence: str
    needs_person: bool
    actions: list[ViewedAction]


class Cancelled(Body):
    """Outcome of a cancellation."""

    job_id: str
    state: State
    status: str = Field(description="`cancelled`; `processing` while the provider has not answered.")
    phase: str | None
    reason: str | None
    message: str = Field(description="The operator's sentence, for people.")
    actions: list[ViewedAction] = Field(
        description="Actions that the state permits; `GET /api/jobs/{jobId}/actions` has those of the caller."
    )
    billed: bool | None = Field(description="True if the provider bills the run anyway; null if unknown.")


class Asked(Body):
    """Accepted request for a run."""

    job_id: str
    state: State
    status: str
    run: int = Field(description="Number of the run.")


class Decided(Body):
    """Approval or rejection that was written; the operator acts on it."""

    job_id: str
    state: State
    status: str
    run: int = Field(description="Number of the run that was approved or rejected.")


class Resumed(Body):
    """State of a resumed job."""

    job_id: str
    state: State
    status: str
    phase: str | None


class Edit(Body):
    """Changed fields; the others stay."""

    model_config = ConfigDict(extra="forbid")

    tags: list[Tag] = Field(default_factory=list, max_length=32, description="All tags.")
    description: str = Field("", max_length=1024)
    is_public: bool = Field(False, description="True if everybody with a token may see the job and download its files.")

    @model_validator(mode="after")
    def _something(self) -> "Edit":
        if not self.model_fields_set:
            raise ValueError("at least one of tags, description, isPublic must be given")
        return self

    def change(self) -> dict[str, Any]:
        """Fields that were given, in the form of the spec."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class InUse(ProblemDetails):
    """Other jobs use its outputs."""

    used_in_jobs: list[str] = Field(alias="usedInJobs", description="jobIds of those that you may see.")


class Deleted(Body):
    """Deleted job, which is no longer listed; its files are being deleted."""

    job_id: str
    status: str = "deleting"
