"""Transcripts: all of them, and one with its player, its speakers and a search in it."""

import asyncio
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from contentgen_contract.names import Kind
from contentgen_gateway.api.assets import TranscriptListing, list_transcripts
from contentgen_gateway.api.downloads import located
from contentgen_gateway.pages.rendering.forms import asking
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.turns import SpeakerTurn, turns
from contentgen_gateway.pages.rendering.views import card
from contentgen_gateway.problems import NotFound, Problem
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.stores.outputs import versions_of
from contentgen_gateway.stores.records import Record

_SHOWN = 40
_COLOURS = 6  # of speakers, in the style sheet
# Bytes of a file that a page shows; ten hours have 0.6 MiB of text.
_LARGEST = {"transcript.json": 8 * 2**20, "transcript.txt": 2**20}
_FORMS = ("txt", "srt", "vtt", "json")

router = APIRouter()


@router.get("/transcripts")
async def all_transcripts(
    request: Request,
    caller: Calling,
    parts: Using,
    listed: Annotated[TranscriptListing, Depends(asking(TranscriptListing, limit=_SHOWN))],
) -> Response:
    """Recordings that are transcribed."""
    return render(request, "transcripts.html", caller, found=await list_transcripts(caller, parts, listed))


@router.get("/transcripts/{job_id}")
async def one_transcript(
    request: Request, caller: Calling, parts: Using, job_id: Name, q: Annotated[str, Query(max_length=256)] = ""
) -> Response:
    """One transcript, in its newest version."""
    record = await parts.sight.job(caller, job_id)
    if record.get("type") != Kind.TRANSCRIPTION.record_type:
        raise NotFound("job", job_id)
    version = next(iter(versions_of(record)), {})
    sound = await _sound(parts, record)
    async with parts.files.parsing:
        document, cut = await _file(parts, record, "transcript.json")
        said = await asyncio.to_thread(turns, document) if document else None
        del document
        text, shortened = (b"", False) if said else await _file(parts, record, "transcript.txt")
        # In a thread: a page of ten hours takes a while.
        return await asyncio.to_thread(
            render,
            request,
            "transcript.html",
            caller,
            job=card(record),
            version=version,
            turns=said or (),
            plain=text.decode(errors="replace"),
            too_large=cut or shortened,
            colours=_colours(said or ()),
            sound=sound,
            forms=[each for each in _FORMS if _has(version, f"transcript.{each}")],
            q=q,
        )


def _colours(said: Iterable[SpeakerTurn]) -> dict[str, int]:
    """The number of each speaker's colour, from 1."""
    speakers = sorted({turn.speaker for turn in said} - {""})
    return {speaker: number % _COLOURS + 1 for number, speaker in enumerate(speakers)}


def _has(version: dict[str, object], name: str) -> bool:
    address = {"txt": "textUrl", "json": "transcriptUrl", "srt": "srtUrl", "vtt": "vttUrl"}[name.rpartition(".")[2]]
    return bool(version.get(address))


async def _file(parts: Dependencies, record: Record, name: str) -> tuple[bytes, bool]:
    """A file's bytes, empty where it is missing or too large; and whether it is too large."""
    try:
        _, _, key = located(parts, record, name, None)
    except Problem:
        return b"", False
    if (await parts.files.size(key) or 0) > _LARGEST[name]:
        return b"", True
    return await parts.files.read(key, _LARGEST[name]) or b"", False


async def _sound(parts: Dependencies, record: Record) -> str:
    """Where a browser hears it; empty where the sound is not kept."""
    try:
        _, _, key = located(parts, record, "audio.flac", None)
    except Problem:
        return ""
    return parts.files.signed(key) if await parts.files.size(key) is not None else ""
