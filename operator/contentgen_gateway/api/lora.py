"""`/api/lora`: trainings, for clients of the legacy API. `/api/jobs/{id}/dataset`: their training sets."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_contract.names import Kind
from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Job, JobList, Name
from contentgen_gateway.schemas.dataset import Dataset, Window
from contentgen_gateway.schemas.listings import LoraStatus, TrainingListing
from contentgen_gateway.services.jobs import state_fields

router = APIRouter(prefix="/api/lora", tags=["lora"], responses=RESPONSES)
dataset_router = APIRouter(prefix="/api/jobs", tags=["jobs"], responses=RESPONSES)


@router.get("/list")
async def list_trainings(
    caller: CallerDep, services: ServicesDep, query: Annotated[TrainingListing, Query()]
) -> JobList:
    """Page of trainings in any state."""
    wanted = replace(query.job_filter(), type=Kind.LORA_TRAINING.record_type, status=query.status, state=query.state)
    return await services.jobs.list_jobs(caller, query, wanted)


@router.get("/status/{job_id}")
async def get_status(caller: CallerDep, services: ServicesDep, job_id: Name) -> LoraStatus:
    """State and progress of a training."""
    record = await services.jobs.training(caller, job_id)
    return LoraStatus.model_validate(record | state_fields(record))


@router.get("/{job_id}")
async def get_training(caller: CallerDep, services: ServicesDep, job_id: Name) -> Job:
    """One training."""
    return services.jobs.body(await services.jobs.training(caller, job_id))


@dataset_router.get("/{job_id}/dataset")
async def get_dataset(
    caller: CallerDep, services: ServicesDep, job_id: Name, query: Annotated[Window, Query()]
) -> Dataset:
    """Training set of a LoRA. 404 until it is prepared."""
    return await services.datasets.page(caller, job_id, query)
