"""Creation of jobs: `/api/lora/train`, `/api/images/generate`, `/api/transcribe`."""

from typing import Annotated

from fastapi import APIRouter, Header, Response

from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.problems import CONFLICT, RESPONSES
from contentgen_gateway.schemas.changes import Made
from contentgen_gateway.schemas.refusals import PRINTABLE
from contentgen_gateway.schemas.requests import GenerateOrder, TrainOrder, TranscribeOrder

router = APIRouter(prefix="/api", tags=["make"], responses=RESPONSES | CONFLICT)
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=PRINTABLE,
        description="Requests of the same caller with the same key create one job.",
    ),
]


@router.post("/lora/train", status_code=202)
async def train(
    caller: CallerDep, services: ServicesDep, order: TrainOrder, response: Response, key: Key = None
) -> Made:
    """Train a LoRA with a video."""
    return _located(response, await services.creation.create(caller, order, key))


@router.post("/images/generate", status_code=202)
async def generate(
    caller: CallerDep, services: ServicesDep, order: GenerateOrder, response: Response, key: Key = None
) -> Made:
    """Generate pictures from a prompt."""
    return _located(response, await services.creation.create(caller, order, key))


@router.post("/transcribe", status_code=202)
async def transcribe(
    caller: CallerDep, services: ServicesDep, order: TranscribeOrder, response: Response, key: Key = None
) -> Made:
    """Transcribe a recording."""
    return _located(response, await services.creation.create(caller, order, key))


def _located(response: Response, made: Made) -> Made:
    response.headers["Location"] = f"/api/jobs/{made.job_id}"
    return made
