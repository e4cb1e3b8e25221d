"""Queries of the lists by kind and of the search, and the status of a training."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from contentgen_contract import patterns
from contentgen_contract.advice.job_state import State
from contentgen_contract.records.searching import Condition, conditions
from contentgen_gateway.problems import BadRequest
from contentgen_gateway.schemas.bodies import STATE, Body, Listing, Paging
from contentgen_gateway.stores.queries import JobFilter, JobStatus
from contentgen_gateway.stores.state_filters import StateFilter

Model = Annotated[str, StringConstraints(pattern=patterns.MODEL_NAME, max_length=128)]
_WORDS = 16  # of a query
_CONDITIONS = 64  # of a query: parts of its words, and pairs of characters of scripts without spaces


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


def query_terms(given: str | None) -> tuple[Condition, ...]:
    """Conditions of a search; empty without one. Raises BadRequest."""
    if not given or not given.strip():
        return ()
    found = conditions(given)
    if len(set(given.split())) > _WORDS or not 1 <= len(found) <= _CONDITIONS:
        raise BadRequest("q", given, f"1 to {_WORDS} words, with {_CONDITIONS} parts or pairs of characters at most")
    return found


def _tags(given: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag.strip() for tag in given.split(",") if tag.strip())) if given else ()


class TrainingListing(Paging):
    """Query of the list of trainings."""

    list_name = "trainings"
    status: JobStatus | None = None
    state: StateFilter | None = STATE


class LoraStatus(Body):
    """Progress of a training."""

    job_id: str
    status: str
    state: State
    badge: str
    sentence: str
    needs_person: bool
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
