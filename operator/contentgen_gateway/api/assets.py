"""`/api/assets`: what was made, by kind, in the seeds' shapes; and the search over all of it."""

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints

from contentgen_contract import patterns
from contentgen_contract.names import Kind
from contentgen_contract.records.record import normalized_words
from contentgen_gateway.api.jobs import page, shown
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.problems import RESPONSES, BadRequest
from contentgen_gateway.schemas import assets
from contentgen_gateway.schemas.assets import LoraList, PictureList, TranscriptList
from contentgen_gateway.schemas.bodies import JobList, Listing, Paging
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.stores import aggregations
from contentgen_gateway.stores.queries import JobFilter, Scope
from contentgen_gateway.stores.records import Record

router = APIRouter(prefix="/api/assets", tags=["assets"], responses=RESPONSES)
short = APIRouter(prefix="/api", tags=["assets"], responses=RESPONSES)
"""The same lists under the names that they were first proposed with."""

Model = Annotated[str, StringConstraints(pattern=patterns.MODEL_NAME, max_length=128)]
_WORDS = 16


class LoraListing(Paging):
    """Which LoRAs."""

    list_name = "loras"


class TranscriptListing(Paging):
    """Which transcripts."""

    list_name = "transcripts"


class PictureListing(Paging):
    """Which pictures."""

    list_name = "images"
    model: Model | None = Field(None, description="Made by this model: an alias, or the provider's name.")

    def wanted(self) -> JobFilter:
        """As a value. Raises BadRequest."""
        return replace(super().wanted(), model=self.model)


class SearchListing(Listing):
    """What to look for. Each word must be there, the last one may be the beginning of one; and each tag."""

    list_name = "search"
    q: str | None = Field(
        None,
        max_length=256,
        description="Words of names, prompts, trigger words, tags, descriptions, file names and models.",
    )
    tags: Annotated[
        str | None, Field(max_length=512, description="Tags, with commas between them.", examples=["avatar,headshot"])
    ] = None

    def wanted(self) -> JobFilter:
        """As a value. Raises BadRequest."""
        return replace(super().wanted(), terms=asked_words(self.q), tags=_tags(self.tags))


def asked_words(given: str | None) -> tuple[str, ...]:
    """What is looked for: each word once, the last one last. Raises BadRequest."""
    if not given or not given.strip():
        return ()
    found = tuple(dict.fromkeys(normalized_words(given)))
    if not 1 <= len(found) <= _WORDS:
        raise BadRequest("q", given, f"1 to {_WORDS} words of letters or digits")
    # The last one may still be being typed, so it stays last also where it came before.
    last = normalized_words(given)[-1]
    return (*(each for each in found if each != last), last)


def _tags(given: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.strip() for each in given.split(",") if each.strip())) if given else ()


@short.get("/loras")
@router.get("/loras")
async def list_loras(caller: Calling, parts: Using, listed: Annotated[LoraListing, Query()]) -> LoraList:
    """LoRAs that are trained, each with its newest version."""
    scope, wanted = await asked(caller, parts, listed, Kind.LORA_TRAINING)
    records, total, following = await page(parts, scope, wanted)
    loras = await asyncio.to_thread(lambda: [assets.lora(each, parts.files.shown) for each in records])
    return LoraList(total=total, loras=loras, next_cursor=following, incomplete=scope.incomplete)


@short.get("/images")
@router.get("/images")
async def list_images(caller: Calling, parts: Using, listed: Annotated[PictureListing, Query()]) -> PictureList:
    """Pictures that were made, one entry each; `limit` counts the jobs that they are of."""
    scope, wanted = await asked(caller, parts, listed, Kind.IMAGE_GENERATION)
    records, _, following = await page(parts, scope, wanted)
    total = await _pictures(parts, scope, wanted)
    return PictureList(
        total=total,
        images=await asyncio.to_thread(_shown, parts, records),
        next_cursor=following,
        incomplete=scope.incomplete,
    )


def _shown(parts: Dependencies, records: list[Record]) -> list[assets.Picture]:
    return [picture for each in records for picture in assets.pictures(each, parts.files.shown)]


async def _pictures(parts: Dependencies, scope: Scope, wanted: JobFilter) -> int:
    if scope.nothing:
        return 0
    rows = await parts.records.tally(aggregations.of_jobs(scope, wanted, None))
    return aggregations.whole(rows[0]["pictures"]) if rows else 0


@short.get("/transcripts")
@router.get("/transcripts")
async def list_transcripts(
    caller: Calling, parts: Using, listed: Annotated[TranscriptListing, Query()]
) -> TranscriptList:
    """Recordings that are transcribed."""
    scope, wanted = await asked(caller, parts, listed, Kind.TRANSCRIPTION)
    records, total, following = await page(parts, scope, wanted)
    found = await asyncio.to_thread(lambda: [assets.transcript(each, parts.files.shown) for each in records])
    return TranscriptList(total=total, transcripts=found, next_cursor=following, incomplete=scope.incomplete)


@router.get("/search")
async def search_assets(caller: Calling, parts: Using, listed: Annotated[SearchListing, Query()]) -> JobList:
    """Jobs of any kind that have these words and tags; all jobs where nothing is looked for."""
    wanted = listed.wanted()
    scope = await parts.sight.scope(caller, listed.namespace, listed.user_id, public=listed.public)
    records, total, following = await page(parts, scope, wanted)
    return JobList(jobs=await shown(parts, records), total=total, next_cursor=following, incomplete=scope.incomplete)


async def asked(caller: Caller, parts: Dependencies, listed: Paging, kind: Kind) -> tuple[Scope, JobFilter]:
    """Where to look for finished assets of a kind, and for which."""
    wanted = replace(listed.wanted(), type=kind.record_type, made=True)
    return await parts.sight.scope(caller, listed.namespace, listed.user_id, public=listed.public), wanted
