"""`/api/search/transcripts`: full-text search in transcripts."""

from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.transcript_search import FoundTranscripts, TranscriptSearch

router = APIRouter(prefix="/api/search", tags=["search"], responses=RESPONSES)


@router.get("/transcripts")
async def search_transcripts(
    caller: CallerDep, services: ServicesDep, query: Annotated[TranscriptSearch, Query()]
) -> FoundTranscripts:
    """Page of transcripts with these words, with time and snippet of each hit."""
    return await services.transcript_search.search(caller, query)
