"""Pages of all transcripts and of one transcript: player, speakers and search."""

import asyncio
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from contentgen_contract.names import Kind
from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.pages.rendering.forms import query_model
from contentgen_gateway.pages.rendering.page_route import PageRoute
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.turns import SpeakerTurn, turns
from contentgen_gateway.pages.rendering.views import card
from contentgen_gateway.problems import NotFound
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.listings import TranscriptListing
from contentgen_gateway.stores.outputs import versions_of

_SHOWN = 40
_COLOURS = 6  # colours of speakers in the style sheet
# Largest files that a page shows, in bytes; ten hours have 0.6 MiB of text.
_LARGEST_JSON, _LARGEST_TEXT = 8 * 2**20, 2**20
_FORMS = ("txt", "srt", "vtt", "json")

router = APIRouter(route_class=PageRoute)


@router.get("/transcripts")
async def list_transcripts(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    query: Annotated[TranscriptListing, Depends(query_model(TranscriptListing, limit=_SHOWN))],
) -> Response:
    """Page of transcribed recordings."""
    return render(request, "transcripts.html", caller, found=await services.assets.transcripts(caller, query))


@router.get("/transcripts/{job_id}")
async def show_transcript(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    q: Annotated[str, Query(max_length=256)] = "",
) -> Response:
    """Page of the newest version of a transcript."""
    record = await services.jobs.record(caller, job_id)
    if record.get("type") != Kind.TRANSCRIPTION.record_type:
        raise NotFound("job", job_id)
    version = next(iter(versions_of(record)), {})
    files = services.files
    sound = await files.view_url(record, "audio.flac")
    async with files.parsing:
        document, cut = await files.content(record, "transcript.json", _LARGEST_JSON)
        found_turns = await asyncio.to_thread(turns, document) if document else None
        del document
        text, shortened = (b"", False) if found_turns else await files.content(record, "transcript.txt", _LARGEST_TEXT)
        # In a thread: rendering ten hours of speech would block the event loop.
        return await asyncio.to_thread(
            render,
            request,
            "transcript.html",
            caller,
            job=card(record),
            version=version,
            turns=found_turns or (),
            plain=text.decode(errors="replace").strip(),
            too_large=cut or shortened,
            colours=_colours(found_turns or ()),
            sound=sound,
            forms=[form for form in _FORMS if _has(version, f"transcript.{form}")],
            q=q,
        )


def _colours(found_turns: Iterable[SpeakerTurn]) -> dict[str, int]:
    """Colour number of each speaker, from 1."""
    speakers = sorted({turn.speaker for turn in found_turns} - {""})
    return {speaker: number % _COLOURS + 1 for number, speaker in enumerate(speakers)}


def _has(version: dict[str, object], name: str) -> bool:
    address = {"txt": "textUrl", "json": "transcriptUrl", "srt": "srtUrl", "vtt": "vttUrl"}[name.rpartition(".")[2]]
    return bool(version.get(address))
