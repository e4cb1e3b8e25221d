"""Transcripts: all of them, and one with its player, its speakers and a search in it."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from contentgen_contract.names import Kind
from contentgen_gateway.assets import TranscriptListing, list_transcripts
from contentgen_gateway.downloads import located
from contentgen_gateway.outputs import versions_of
from contentgen_gateway.pages.forms import asking
from contentgen_gateway.pages.render import render
from contentgen_gateway.pages.turns import turns
from contentgen_gateway.pages.views import card
from contentgen_gateway.parts import Calling, Parts, Using
from contentgen_gateway.problems import NotFound, Problem
from contentgen_gateway.records import Record
from contentgen_gateway.schemas import Name

_SHOWN = 40
_LARGEST = 64 * 2**20  # bytes of a transcript.json
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
    text = await _file(parts, record, "transcript.json")
    said = await asyncio.to_thread(turns, text) if text else None
    return render(
        request,
        "transcript.html",
        caller,
        job=card(record),
        version=version,
        turns=said or (),
        plain="" if said else ((await _file(parts, record, "transcript.txt")) or b"").decode(errors="replace"),
        speakers=sorted({turn.speaker for turn in said or ()} - {""}),
        sound=await _sound(parts, record),
        forms=[each for each in _FORMS if _has(version, f"transcript.{each}")],
        q=q,
    )


def _has(version: dict[str, object], name: str) -> bool:
    address = {"txt": "textUrl", "json": "transcriptUrl", "srt": "srtUrl", "vtt": "vttUrl"}[name.rpartition(".")[2]]
    return bool(version.get(address))


async def _file(parts: Parts, record: Record, name: str) -> bytes | None:
    try:
        _, _, key = located(parts, record, name, None)
    except Problem:
        return None
    return await parts.files.read(key, _LARGEST)


async def _sound(parts: Parts, record: Record) -> str:
    """Where a browser hears it; empty where the sound is not kept."""
    try:
        _, _, key = located(parts, record, "audio.flac", None)
    except Problem:
        return ""
    return parts.files.signed(key) if await parts.files.size(key) is not None else ""
