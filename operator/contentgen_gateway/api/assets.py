"""`/api/assets`: finished assets by kind, in the shapes of the legacy API, and the search over all jobs."""

from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.assets import LoraList, PictureList, TranscriptList
from contentgen_gateway.schemas.bodies import JobList
from contentgen_gateway.schemas.listings import LoraListing, PictureListing, SearchListing, TranscriptListing

router = APIRouter(prefix="/api/assets", tags=["assets"], responses=RESPONSES)
short = APIRouter(prefix="/api", tags=["assets"], responses=RESPONSES)
"""The same lists under their earlier, shorter paths."""


@short.get("/loras")
@router.get("/loras")
async def list_loras(caller: CallerDep, services: ServicesDep, query: Annotated[LoraListing, Query()]) -> LoraList:
    """Page of trained LoRAs, each with its newest version."""
    return await services.assets.loras(caller, query)


@short.get("/images")
@router.get("/images")
async def list_images(
    caller: CallerDep, services: ServicesDep, query: Annotated[PictureListing, Query()]
) -> PictureList:
    """Page of generated pictures; `limit` counts jobs, not pictures."""
    return await services.assets.pictures(caller, query)


@short.get("/transcripts")
@router.get("/transcripts")
async def list_transcripts(
    caller: CallerDep, services: ServicesDep, query: Annotated[TranscriptListing, Query()]
) -> TranscriptList:
    """Page of transcribed recordings."""
    return await services.assets.transcripts(caller, query)


@router.get("/search")
async def search_assets(caller: CallerDep, services: ServicesDep, query: Annotated[SearchListing, Query()]) -> JobList:
    """Page of jobs of any kind with these words and tags; of all jobs without words and tags."""
    return await services.jobs.list_jobs(caller, query)
