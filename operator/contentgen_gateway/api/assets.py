"""`/api/assets`: what was made, by kind, in the seeds' shapes; and the search over all of it."""

from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_gateway.injection import AssetsDep, CallerDep, JobsDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.assets import LoraList, PictureList, TranscriptList
from contentgen_gateway.schemas.bodies import JobList
from contentgen_gateway.schemas.listings import LoraListing, PictureListing, SearchListing, TranscriptListing

router = APIRouter(prefix="/api/assets", tags=["assets"], responses=RESPONSES)
short = APIRouter(prefix="/api", tags=["assets"], responses=RESPONSES)
"""The same lists under the names that they were first proposed with."""


@short.get("/loras")
@router.get("/loras")
async def list_loras(caller: CallerDep, assets: AssetsDep, query: Annotated[LoraListing, Query()]) -> LoraList:
    """LoRAs that are trained, each with its newest version."""
    return await assets.loras(caller, query)


@short.get("/images")
@router.get("/images")
async def list_images(caller: CallerDep, assets: AssetsDep, query: Annotated[PictureListing, Query()]) -> PictureList:
    """Pictures that were made, one entry each; `limit` counts the jobs that they are of."""
    return await assets.pictures(caller, query)


@short.get("/transcripts")
@router.get("/transcripts")
async def list_transcripts(
    caller: CallerDep, assets: AssetsDep, query: Annotated[TranscriptListing, Query()]
) -> TranscriptList:
    """Recordings that are transcribed."""
    return await assets.transcripts(caller, query)


@router.get("/search")
async def search_assets(caller: CallerDep, jobs: JobsDep, query: Annotated[SearchListing, Query()]) -> JobList:
    """Jobs of any kind that have these words and tags; all jobs where nothing is looked for."""
    return await jobs.list_jobs(caller, query)
