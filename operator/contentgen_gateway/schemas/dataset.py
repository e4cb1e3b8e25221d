"""Bodies of `/api/jobs/{id}/dataset`, and dataset.json."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from contentgen_gateway.schemas.bodies import Body, Parameters
from contentgen_gateway.stores.queries import MOST

_MOST = 20_000  # entries of each list; each needs about 1 kB
_MOST_FIGURES = 64  # values of a face
_MOST_PIXELS = 65_535  # of a side of a JPEG


class _Finite(Body):
    """Body without NaN and infinities, which no JSON and no page can show."""

    model_config = ConfigDict(allow_inf_nan=False)


class Why(_Finite):
    """Reason for the rejection of a frame."""

    reason: str = Field(max_length=64)
    figure: float | None = Field(None, description="Measured value.")
    limit: float | None = Field(None, description="Limit of the value.")
    like_seconds: float | None = Field(
        None, description="Position of the frame that a duplicate resembles, in seconds."
    )


def _limited(value: object) -> object:
    """Raises ValueError for too many values: pydantic keeps about 1.5 kB for each invalid one."""
    if isinstance(value, dict) and len(value) > _MOST_FIGURES:
        raise ValueError(f"more than {_MOST_FIGURES} values")
    return value


_Face = Annotated[dict[str, float], BeforeValidator(_limited)]


class Frame(_Finite):
    """Picture of the training set."""

    file: str = Field(max_length=64)
    caption: str = ""
    width: int | None = None
    height: int | None = None
    seconds: float | None = Field(None, description="Position in the video, in seconds.")
    shot: int | None = None
    faces: list[_Face] = Field(default_factory=list, fail_fast=True)
    last_resort: Why | None = Field(
        None, description="Reason to reject it; it was kept because there were too few others."
    )


class Size(Body):
    """Size of a picture in pixels."""

    width: int = Field(ge=1, le=_MOST_PIXELS)
    height: int = Field(ge=1, le=_MOST_PIXELS)


class Tile(Size):
    """Place of a frame in a picture of many, in pixels."""

    left: int = Field(ge=0, le=_MOST_PIXELS)
    top: int = Field(ge=0, le=_MOST_PIXELS)


class Rejected(Why):
    """Rejected frame."""

    seconds: float | None = None
    shot: int | None = None
    tile: Tile | None = Field(None, description="Its place in `rejectedPictures`; null if it is not in the sample.")


class RejectedPictures(Size):
    """Picture with a sample of the rejected frames, with a URL that is valid for 15 minutes."""

    url: str


class Shot(_Finite):
    """Shot of the video; times in seconds."""

    number: int
    start: float
    end: float


class Index(BaseModel):
    """Content of dataset.json."""

    # One error is enough: see `_limited`.
    images: list[Frame] = Field([], max_length=_MOST, fail_fast=True)
    rejected: list[Rejected] = Field([], max_length=_MOST, fail_fast=True)
    shots: list[Shot] = Field([], max_length=_MOST, fail_fast=True)
    rejected_pictures: Size | None = Field(None, alias="rejectedPictures")


class ShownFrame(Frame):
    """Picture of the training set, with a URL that is valid for 15 minutes."""

    thumbnail_url: str


class Dataset(Body):
    """Page of a training set: up to `limit` pictures and up to `limit` rejected frames."""

    job_id: str
    version: int
    total_images: int
    total_rejected: int
    rejected_by_reason: dict[str, int]
    sheet_url: str = Field(description="URL of the contact sheet, valid for 15 minutes.")
    images: list[ShownFrame]
    rejected: list[Rejected]
    rejected_pictures: RejectedPictures | None = Field(
        description="Picture with up to 60 rejected frames; null if none was rejected, or in training sets of earlier "
        "releases."
    )
    shots: list[Shot]
    next_offset: int | None = Field(None, description="Value of `offset` for the next page; null on the last page.")


class Window(Parameters):
    """Version and page of a training set."""

    version: int | None = Field(None, ge=1, le=999_999, description="Version; the newest if left out.")
    offset: int = Field(0, ge=0, le=1_000_000)
    limit: int = Field(50, ge=1, le=MOST)
