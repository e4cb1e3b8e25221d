"""Bodies of `/api/search/transcripts`."""

from pydantic import Field

from contentgen_contract.names import Kind
from contentgen_gateway.schemas import assets
from contentgen_gateway.schemas.bodies import Body, Incomplete, Name, Period, UserId
from contentgen_gateway.schemas.listings import query_terms
from contentgen_gateway.stores.queries import JobFilter, with_cursor


class TranscriptSearch(Period):
    """Search query. One passage must contain all words, or the end of one and the beginning of the next; the last word
    may be a prefix.
    """

    q: str = Field(min_length=1, max_length=256, description="Spoken words.", examples=["wildfires"])
    namespace: Name | None = Field(None, description="Only jobs of this namespace.")
    user_id: UserId | None = Field(None, description="Only jobs of this user.")
    public: bool = Field(False, description="Include public jobs of others.")
    hits: int = Field(5, ge=1, le=50, description="Hits per transcript.")
    limit: int = Field(20, ge=1, le=100, description="Transcripts per page.")
    cursor: str | None = Field(None, max_length=512, description="`nextCursor` of the previous page.")

    def job_filter(self) -> JobFilter:
        """Filter of the records. Raises BadRequest."""
        wanted = JobFilter(
            list_name="passages",
            user_id=self.user_id,
            type=Kind.TRANSCRIPTION.record_type,
            since=self.begin,
            until=self.end,
            terms=query_terms(self.q),
            limit=self.limit,
        )
        return with_cursor(wanted, self.cursor)


class Mark(Body):
    """Position of a found word in a snippet, in characters."""

    offset: int
    length: int


class Hit(Body):
    """Passage with all words."""

    start: float | None = Field(description="Seconds from the start of the recording; null if unknown.")
    end: float | None
    speaker: str | None
    snippet: str
    marks: list[Mark] = Field(description="Positions of the words in the snippet.")


class FoundTranscript(assets.Transcript):
    """Transcript with hits."""

    job_id: str
    user_id: str | None
    namespace: str | None
    version: int = Field(description="Searched version of the transcript.")
    hit_count: int = Field(description="Number of passages with all words.")
    hits: list[Hit]


class FoundTranscripts(Body):
    """Page of transcripts, newest first."""

    transcripts: list[FoundTranscript]
    next_cursor: str | None = Field(None, description="Value of `cursor` for the next page; null on the last page.")
    incomplete: Incomplete = False
