"""`/api/search/transcripts`: who said it, and when. Hits by job, the newest first, each with its time and a snippet."""

from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_gateway.injection import CallerDep, TranscriptSearchDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.transcript_search import FoundTranscripts, TranscriptSearch

router = APIRouter(prefix="/api/search", tags=["search"], responses=RESPONSES)


@router.get("/transcripts")
async def search_transcripts(
    caller: CallerDep, transcripts: TranscriptSearchDep, query: Annotated[TranscriptSearch, Query()]
) -> FoundTranscripts:
    """Transcripts in which something is said, and when."""
    return await transcripts.search(caller, query)
