"""`PATCH /api/assets/{jobId}`: tags, description, whether others may see it. None of it starts a run."""

from typing import Any

from fastapi import APIRouter
from pydantic import ConfigDict, Field, model_validator

from contentgen_contract.names import CHANGED_BY_ANNOTATION
from contentgen_contract.resources.spec import Tag
from contentgen_gateway.api.jobs import one
from contentgen_gateway.auth.authorization import Verb
from contentgen_gateway.problems import CONFLICT, RESPONSES
from contentgen_gateway.schemas.bodies import Body as Shape
from contentgen_gateway.schemas.bodies import Job, Name
from contentgen_gateway.services.dependencies import Calling, Using
from contentgen_gateway.services.editable_job import changed, held
from contentgen_gateway.services.run_state import annotated
from contentgen_runtime.kube import Body

router = APIRouter(prefix="/api/assets", tags=["assets"], responses=RESPONSES | CONFLICT)


class Edit(Shape):
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


@router.patch("/{job_id}")
async def edit(caller: Calling, parts: Using, job_id: Name, wish: Edit) -> Job:
    """Change what people find an asset by, and whether others may see it."""
    job = await held(caller, parts, job_id, Verb.PATCH)
    change = wish.change()

    def patch(body: Body) -> Body:
        return annotated(body, {CHANGED_BY_ANNOTATION: caller.name}) | {"spec": {"metadata": change}}

    await changed(parts, job, patch)
    record = job.record | {"metadata": (job.record.get("metadata") or {}) | change}
    # The operator writes the same when it sees the resource; a job that has none any more is written here alone.
    await parts.records.describe(record)
    return one(parts, record)
