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
    """Which LoRAs."""

    list_name = "loras"


class TranscriptListing(Paging):
    """Which transcripts."""

    list_name = "transcripts"


class PictureListing(Paging):
    """Which pictures."""

    list_name = "images"
    model: Model | None = Field(None, description="Made by this model: an alias, or the provider's name.")

    def job_filter(self) -> JobFilter:
        """As a value. Raises BadRequest."""
        return replace(super().job_filter(), model=self.model)


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

    def job_filter(self) -> JobFilter:
        """As a value. Raises BadRequest."""
        return replace(super().job_filter(), terms=query_terms(self.q), tags=_tags(self.tags))


def query_terms(given: str | None) -> tuple[str, ...]:
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


class TrainingListing(Paging):
    """Which trainings."""

    list_name = "trainings"
    status: JobStatus | None = None


class LoraStatus(Body):
    """How far a training is."""

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
