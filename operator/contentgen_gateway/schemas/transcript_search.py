"""Bodies of `/api/search/transcripts`."""

from pydantic import Field

from contentgen_contract.names import Kind
from contentgen_gateway.schemas import assets
from contentgen_gateway.schemas.bodies import Body, Incomplete, Moment, Name, Parameters, UserId, instant
from contentgen_gateway.schemas.listings import query_terms
from contentgen_gateway.stores.queries import JobFilter, continued


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

    def job_filter(self) -> JobFilter:
        """As a value. Raises BadRequest."""
        wanted = JobFilter(
            list_name="passages",
            user_id=self.user_id,
            type=Kind.TRANSCRIPTION.record_type,
            since=instant(self.since),
            until=instant(self.until),
            terms=query_terms(self.q),
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
