"""Bodies of `/api/jobs/{id}/dataset`, and dataset.json."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from contentgen_gateway.schemas.bodies import Body, Parameters
from contentgen_gateway.stores.queries import MOST

_MOST = 20_000  # elements of each of its lists: each costs about 1 kB
_MOST_FIGURES = 64  # of a face


class Why(Body):
    """Why a frame was left out, or is the last choice."""

    reason: str = Field(max_length=64)
    figure: float | None = Field(None, description="What was measured.")
    limit: float | None = Field(None, description="What it was held against.")
    like_seconds: float | None = Field(None, description="Of a duplicate: where the frame is that it is like.")


def _few(value: object) -> object:
    """Raises ValueError for a dict of many figures: pydantic keeps some 1.5 kB for each that is wrong."""
    if isinstance(value, dict) and len(value) > _MOST_FIGURES:
        raise ValueError(f"more than {_MOST_FIGURES} figures")
    return value


_Face = Annotated[dict[str, float], BeforeValidator(_few)]


class Frame(Body):
    """A picture of the training set."""

    file: str = Field(max_length=64)
    caption: str = ""
    width: int | None = None
    height: int | None = None
    seconds: float | None = Field(None, description="Where in the video it is from.")
    shot: int | None = None
    faces: list[_Face] = Field(default_factory=list, fail_fast=True)
    last_resort: Why | None = Field(None, description="It was kept although, because there were too few others.")


class Rejected(Why):
    """A frame that was left out."""

    seconds: float | None = None
    shot: int | None = None


class Shot(Body):
    """A shot of the video, in seconds."""

    number: int
    start: float
    end: float


class Index(BaseModel):
    """dataset.json."""

    # The first error is enough, see `_few`.
    images: list[Frame] = Field([], max_length=_MOST, fail_fast=True)
    rejected: list[Rejected] = Field([], max_length=_MOST, fail_fast=True)
    shots: list[Shot] = Field([], max_length=_MOST, fail_fast=True)


class ShownFrame(Frame):
    """A picture of the training set, and where it can be seen for 15 minutes."""

    thumbnail_url: str


class Dataset(Body):
    """A page of a training set: so many of the pictures, and of the frames that were left out."""

    job_id: str
    version: int
    total_images: int
    total_rejected: int
    rejected_by_reason: dict[str, int]
    sheet_url: str = Field(description="The contact sheet of all of it, for 15 minutes.")
    images: list[ShownFrame]
    rejected: list[Rejected]
    shots: list[Shot]
    next_offset: int | None = Field(None, description="Give it as `offset` for the next page; null on the last.")


class Window(Parameters):
    """Which part."""

    version: int | None = Field(None, ge=1, le=999_999, description="Of this version; of the newest when left out.")
    offset: int = Field(0, ge=0, le=1_000_000)
    limit: int = Field(50, ge=1, le=MOST)
