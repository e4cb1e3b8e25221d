"""`/api/search/transcripts`: who said it, and when. Hits by job, the newest first, each with its time and a snippet."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from contentgen_contract.names import Kind
from contentgen_contract.records.record import normalized_words
from contentgen_gateway.api.assets import asked_words
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas import assets
from contentgen_gateway.schemas.bodies import Body, Incomplete, Moment, Name, Parameters, UserId, instant
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.stores import queries
from contentgen_gateway.stores.queries import NOT_DISCARDED, JobFilter, Scope, continued, cursor_after, listing
from contentgen_gateway.stores.records import Record

router = APIRouter(prefix="/api/search", tags=["search"], responses=RESPONSES)

_READ = 2000  # passages of one read, and about as many of one page
_ROUNDS = 10  # reads of one page; several where passages are of jobs that the caller may not see any more
_WORD = re.compile(r"\w+")
_AROUND = 160  # characters of a snippet before and after its first hit


class TranscriptSearch(Parameters):
    """What to look for. Each word must be said in one passage; the last one may be the beginning of a word."""

    q: str = Field(min_length=1, max_length=256, description="Words that are said.", examples=["wildfires"])
    namespace: Name | None = Field(None, description="Of this namespace alone.")
    user_id: UserId | None = Field(None, description="Of this user alone.")
    public: bool = Field(False, description="Also what others have made public.")
    since: Moment | None = Field(None, alias="from", description="Made at this time or later.")
    until: Moment | None = Field(None, alias="to", description="Made before this time.")
    hits: int = Field(5, ge=1, le=50, description="How many of a transcript's hits to show.")
    limit: int = Field(20, ge=1, le=100, description="How many transcripts.")
    cursor: str | None = Field(None, max_length=512, description="`nextCursor` of the page before.")

    def wanted(self) -> JobFilter:
        """As a value. Raises BadRequest."""
        wanted = JobFilter(
            list_name="passages",
            user_id=self.user_id,
            type=Kind.TRANSCRIPTION.record_type,
            since=instant(self.since),
            until=instant(self.until),
            terms=asked_words(self.q),
            limit=self.limit,
        )
        return continued(wanted, self.cursor)


class Mark(Body):
    """A word that was looked for, as a part of a snippet; in characters."""

    offset: int
    length: int


class Hit(Body):
    """A passage."""

    start: float | None = Field(description="Seconds from the start of the recording; null where nobody knows.")
    end: float | None
    speaker: str | None
    snippet: str
    marks: list[Mark] = Field(description="Where in the snippet the words are.")


class FoundTranscript(assets.Transcript):
    """A transcript in which it is said."""

    job_id: str
    user_id: str | None
    namespace: str | None
    version: int = Field(description="The version of the transcript that was searched.")
    hit_count: int = Field(description="How many passages there are.")
    hits: list[Hit]


class FoundTranscripts(Body):
    """A page of transcripts, the newest first."""

    transcripts: list[FoundTranscript]
    next_cursor: str | None = Field(None, description="Give it as `cursor` for the next page; null on the last.")
    incomplete: Incomplete = False


@router.get("/transcripts")
async def search_transcripts(
    caller: Calling, parts: Using, sought: Annotated[TranscriptSearch, Query()]
) -> FoundTranscripts:
    """Transcripts in which something is said, and when."""
    scope = await parts.sight.scope(caller, sought.namespace, sought.user_id, public=sought.public)
    return await search(parts, scope, sought.wanted(), sought.hits)


async def search(parts: Dependencies, scope: Scope, wanted: JobFilter, hits: int) -> FoundTranscripts:
    """A page of what is found where one may look."""
    if scope.nothing:
        return FoundTranscripts(transcripts=[], incomplete=scope.incomplete)
    shown: list[FoundTranscript] = []
    read, asked, incomplete, last = 0, wanted, scope.incomplete, None
    for round_ in range(_ROUNDS):
        found, cut = grouped(await parts.transcripts.find(listing(scope, asked), _READ))
        records = {each["jobId"]: each for each in await parts.records.find(_still_seen(scope, found))} if found else {}
        for each in found:
            if each.job_id not in records:
                continue
            if len(shown) == wanted.limit or read >= _READ:
                following = cursor_after(last, wanted) if last is not None else None
                return FoundTranscripts(transcripts=shown, next_cursor=following, incomplete=incomplete)
            shown.append(_shown(records[each.job_id], each, (wanted.terms, hits), parts.files.shown))
            read, last = read + len(each.passages), each.passages[0]
        if not cut:
            break
        asked = continued(wanted, cursor_after(found[-1].passages[0], wanted))
        incomplete = scope.incomplete or round_ == _ROUNDS - 1
    return FoundTranscripts(transcripts=shown, incomplete=incomplete)


@dataclass(frozen=True, slots=True)
class PassageGroup:
    """The passages of one job."""

    job_id: str
    passages: Sequence[dict[str, Any]]


def grouped(passages: Sequence[dict[str, Any]]) -> tuple[list[PassageGroup], bool]:
    """By job, in order, and whether there may be more that were not read."""
    found = [PassageGroup(job_id, list(each)) for job_id, each in groupby(passages, lambda each: str(each["jobId"]))]
    cut = len(passages) == _READ
    if cut and len(found) > 1:
        found.pop()  # the rest of it was not read: it comes first in the next read
    return found, cut


def _still_seen(scope: Scope, found: Sequence[PassageGroup]) -> queries.Query:
    """The records say what is deleted or private by now, which the index learns a little later."""
    jobs = {"jobId": {"$in": [each.job_id for each in found]}}
    return queries.Query(
        queries.every((scope.filter(), NOT_DISCARDED, jobs)), (("createdAt", -1), ("jobId", -1)), len(found), "job_id"
    )


def _shown(
    record: Record, group: PassageGroup, sought: tuple[Sequence[str], int], show: assets.Shown
) -> FoundTranscript:
    terms, hits = sought
    return FoundTranscript(
        **assets.transcript(record, show).model_dump(),
        job_id=group.job_id,
        user_id=record.get("userId"),
        namespace=record.get("namespace"),
        version=group.passages[0]["version"],
        hit_count=len(group.passages),
        hits=[_hit(each, terms) for each in group.passages[:hits]],
    )


def _hit(passage: dict[str, Any], terms: Sequence[str]) -> Hit:
    snippet, marks = marked(passage["text"], terms)
    return Hit(start=passage["start"], end=passage["end"], speaker=passage["speaker"], snippet=snippet, marks=marks)


def marked(text: str, terms: Sequence[str]) -> tuple[str, list[Mark]]:
    """A snippet of a text, and where the terms are in it; of the last one the beginning of a word is enough."""
    *whole, last = terms
    places = [
        (each.start(), each.end())
        for each in _WORD.finditer(text)
        if any(word in whole or word.startswith(last) for word in normalized_words(each.group()))
    ]
    first = places[0][0] if places else 0
    begin, end = _bounds(text, first)
    inside = [(start - begin, stop - start) for start, stop in places if begin <= start and stop <= end]
    return text[begin:end], [Mark(offset=offset, length=length) for offset, length in inside]


def _bounds(text: str, first: int) -> tuple[int, int]:
    """At words, as far as there are any."""
    begin, end = max(first - _AROUND, 0), min(first + _AROUND, len(text))
    if begin:
        begin = max(text.find(" ", begin, first) + 1, begin)
    if end < len(text):
        end = max(text.rfind(" ", first, end), first + 1) if " " in text[first:end] else end
    return begin, end
