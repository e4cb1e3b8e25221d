"""Search in transcripts: hits by job, the newest job first, each with its time and a snippet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from contentgen_contract.records.searching import Condition, Term, terms
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.schemas import assets
from contentgen_gateway.schemas.transcript_search import FoundTranscript, FoundTranscripts, Hit, Mark, TranscriptSearch
from contentgen_gateway.stores import queries
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.queries import NOT_DISCARDED, JobFilter, Scope, cursor_after, page_query, with_cursor
from contentgen_gateway.stores.records import Record, Records
from contentgen_gateway.transcripts.index import TranscriptIndex, across_end

_READ = 2000  # passages of one read, and about as many of one page
_ROUNDS = 10  # reads of one page; several if passages are of jobs that the caller may no longer see
_AROUND = 160  # characters of a snippet before and after its first hit


@dataclass(frozen=True, slots=True)
class TranscriptSearcher:
    """Search in the transcripts that a caller may see."""

    visibility: Visibility
    index: TranscriptIndex
    records: Records
    files: BucketFiles

    async def search(self, caller: Caller, query: TranscriptSearch) -> FoundTranscripts:
        """Page of transcripts with hits. Raises BadRequest."""
        scope = await self.visibility.scope(caller, query.namespace, query.user_id, public=query.public)
        wanted = query.job_filter()
        return await self._page(scope, replace(wanted, across=across_end(wanted.terms)), query.hits)

    async def _page(self, scope: Scope, wanted: JobFilter, hits: int) -> FoundTranscripts:
        if scope.nothing:
            return FoundTranscripts(transcripts=[], incomplete=scope.incomplete)
        page: list[FoundTranscript] = []
        read, asked, incomplete, last = 0, wanted, scope.incomplete, None
        for round_ in range(_ROUNDS):
            found, cut = grouped(await self.index.find(page_query(scope, asked), _READ))
            records = await self._visible_records(scope, found)
            for passage in found:
                if passage.job_id not in records:
                    continue
                if len(page) == wanted.limit or read >= _READ:
                    following = cursor_after(last, wanted) if last is not None else None
                    return FoundTranscripts(transcripts=page, next_cursor=following, incomplete=incomplete)
                page.append(
                    _transcript(records[passage.job_id], passage, (wanted.terms, hits), self.files.resolve_address)
                )
                read, last = read + len(passage.passages), passage.passages[0]
            if not cut:
                break
            asked = with_cursor(wanted, cursor_after(found[-1].passages[0], wanted))
            incomplete = scope.incomplete or round_ == _ROUNDS - 1
        return FoundTranscripts(transcripts=page, incomplete=incomplete)

    async def _visible_records(self, scope: Scope, found: "Sequence[PassageGroup]") -> dict[str, Record]:
        """Records by job id. The index learns later than the records that a job was deleted or made private."""
        if not found:
            return {}
        jobs = {"jobId": {"$in": [passage.job_id for passage in found]}}
        condition = queries.all_of((scope.filter(), NOT_DISCARDED, jobs))
        query = queries.Query(condition, (("createdAt", -1), ("jobId", -1)), len(found), "job_id")
        return {record["jobId"]: record for record in await self.records.find(query)}


@dataclass(frozen=True, slots=True)
class PassageGroup:
    """Passages of one job."""

    job_id: str
    passages: Sequence[dict[str, Any]]


def grouped(passages: Sequence[dict[str, Any]]) -> tuple[list[PassageGroup], bool]:
    """Passages grouped by job, in order, and True if more may follow."""
    found = [
        PassageGroup(job_id, list(record)) for job_id, record in groupby(passages, lambda each: str(each["jobId"]))
    ]
    cut = len(passages) == _READ
    if cut and len(found) > 1:
        found.pop()  # possibly incomplete: the next read begins with it
    return found, cut


def _transcript(
    record: Record, group: PassageGroup, sought: tuple[Sequence[Condition], int], show: assets.SignAddress
) -> FoundTranscript:
    terms, hits = sought
    return FoundTranscript(
        **assets.transcript(record, show).model_dump(),
        job_id=group.job_id,
        user_id=record.get("userId"),
        namespace=record.get("namespace"),
        version=group.passages[0]["version"],
        hit_count=len(group.passages),
        hits=[_hit(passage, terms) for passage in group.passages[:hits]],
    )


def _hit(passage: dict[str, Any], sought: Sequence[Condition]) -> Hit:
    snippet, marks = marked(passage["text"], passage.get("following", ""), sought)
    return Hit(start=passage["start"], end=passage["end"], speaker=passage["speaker"], snippet=snippet, marks=marks)


def marked(text: str, following: str, sought: Sequence[Condition]) -> tuple[str, list[Mark]]:
    """Snippet of a passage, and the positions of the terms in it. The snippet goes on into the following text if a
    condition is only met there.
    """
    found = [(term, [each_term for each_term in sought if _meets(term, each_term)]) for term in terms(text + following)]
    places = [(term.start, term.end) for term, met in found if met and term.start < len(text)]
    beyond = [(term.start, term.end) for term, met in found if met and term.start >= len(text)]
    own = {each_term for term, met in found for each_term in met if term.start < len(text)}
    if any(each_term not in own for _, met in found for each_term in met):
        text, places = text + following, places + beyond
    elif places and max(end for _, end in places) > len(text):
        text += following
    places = _merged(places)
    first = places[0][0] if places else 0
    begin, end = _bounds(text, first)
    inside = [(start - begin, stop - start) for start, stop in places if begin <= start and stop <= end]
    return text[begin:end], [Mark(offset=offset, length=length) for offset, length in inside]


def _meets(term: Term, alternatives: Condition) -> bool:
    return any(alternative.matches(term.text) for alternative in alternatives)


def _merged(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places in order, those that overlap as one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(places):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _bounds(text: str, first: int) -> tuple[int, int]:
    """Bounds of a snippet, at word boundaries if possible."""
    begin, end = max(first - _AROUND, 0), min(first + _AROUND, len(text))
    if begin:
        begin = max(text.find(" ", begin, first) + 1, begin)
    if end < len(text):
        end = max(text.rfind(" ", first, end), first + 1) if " " in text[first:end] else end
    return begin, end
