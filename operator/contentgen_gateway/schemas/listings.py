"""Queries of the lists by kind and of the search, and the status of a training."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from contentgen_contract import patterns
from contentgen_contract.records.record import normalized_words
from contentgen_gateway.problems import BadRequest
from contentgen_gateway.schemas.bodies import Body, Listing, Paging
from contentgen_gateway.stores.queries import JobFilter, JobStatus

Model = Annotated[str, StringConstraints(pattern=patterns.MODEL_NAME, max_length=128)]
_WORDS = 16


class LoraListing(Paging):
    """Query of the list of LoRAs."""

    list_name = "loras"


class TranscriptListing(Paging):
    """Query of the list of transcripts."""

    list_name = "transcripts"


class PictureListing(Paging):
    """Query of the list of pictures."""

    list_name = "images"
    model: Model | None = Field(None, description="Only pictures of this model: an alias, or the provider's name.")

    def job_filter(self) -> JobFilter:
        """Filter of the records. Raises BadRequest."""
        return replace(super().job_filter(), model=self.model)


class SearchListing(Listing):
    """Search query. Jobs must have all words and all tags; the last word may be a prefix."""

    list_name = "search"
    q: str | None = Field(
        None,
        max_length=256,
        description="Words of names, prompts, trigger words, tags, descriptions, file names and models.",
    )
    tags: Annotated[
        str | None, Field(max_length=512, description="Comma-separated tags.", examples=["avatar,headshot"])
    ] = None

    def job_filter(self) -> JobFilter:
        """Filter of the records. Raises BadRequest."""
        return replace(super().job_filter(), terms=query_terms(self.q), tags=_tags(self.tags))


def query_terms(given: str | None) -> tuple[str, ...]:
    """Distinct words of a search, in order, with the last word at the end. Raises BadRequest."""
    if not given or not given.strip():
        return ()
    found = tuple(dict.fromkeys(normalized_words(given)))
    if not 1 <= len(found) <= _WORDS:
        raise BadRequest("q", given, f"1 to {_WORDS} words of letters or digits")
    # The last word may be incomplete, so it stays last even if it also occurs before.
    last = normalized_words(given)[-1]
    return (*(each for each in found if each != last), last)


def _tags(given: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.strip() for each in given.split(",") if each.strip())) if given else ()


class TrainingListing(Paging):
    """Query of the list of trainings."""

    list_name = "trainings"
    status: JobStatus | None = None


class LoraStatus(Body):
    """Progress of a training."""

    job_id: str
    status: str
    progress: int
    phase: str | None = None
    stage: str | None = None
    reason: str | None = None
    message: str | None = None
    error: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    estimated_completion_time: datetime | None = None
