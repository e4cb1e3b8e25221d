"""`/api/lora`: trainings, as the first service's clients ask for them."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_contract.names import Kind
from contentgen_gateway.api.jobs import one, page, shown
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.problems import RESPONSES, NotFound
from contentgen_gateway.schemas.bodies import Body, Job, JobList, Name, Paging
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.stores.queries import JobStatus
from contentgen_gateway.stores.records import Record

router = APIRouter(prefix="/api/lora", tags=["lora"], responses=RESPONSES)


class TrainingListing(Paging):
    """Which trainings."""

    list_name = "trainings"
    status: JobStatus | None = None


class LoraStatus(Body):
    """How far a training is."""

    job_id: str
    status: str
    progress: int
    phase: str | None = None
    stage: str | None = None
    reason: str | None = None
    message: str | None = None
    error: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    estimated_completion_time: datetime | None = None


@router.get("/list")
async def list_trainings(caller: Calling, parts: Using, listed: Annotated[TrainingListing, Query()]) -> JobList:
    """Trainings in any state."""
    wanted = replace(listed.wanted(), type=Kind.LORA_TRAINING.record_type, status=listed.status)
    scope = await parts.sight.scope(caller, listed.namespace, listed.user_id, public=listed.public)
    records, total, following = await page(parts, scope, wanted)
    return JobList(jobs=await shown(parts, records), total=total, next_cursor=following, incomplete=scope.incomplete)


@router.get("/status/{job_id}")
async def get_status(caller: Calling, parts: Using, job_id: Name) -> LoraStatus:
    """State and progress of a training."""
    return LoraStatus.model_validate(await training(caller, parts, job_id))


@router.get("/{job_id}")
async def get_training(caller: Calling, parts: Using, job_id: Name) -> Job:
    """A training, whole."""
    return one(parts, await training(caller, parts, job_id))


async def training(caller: Caller, parts: Dependencies, job_id: str) -> Record:
    """The record of a training. Raises NotFound, in the same words for a job of another kind."""
    record = await parts.sight.job(caller, job_id)
    if record.get("type") != Kind.LORA_TRAINING.record_type:
        raise NotFound("job", job_id)
    return record
