"""`/api/jobs/{id}/dataset`: what a LoRA is, or will be, trained with; and what was left out, and why.

It is told by the dataset.json that the worker left: a document of ours, made beside a user's video, so it is checked
like any other from outside.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.records.ownership import Owner
from contentgen_gateway.api.lora import training
from contentgen_gateway.problems import RESPONSES, Problem
from contentgen_gateway.schemas.bodies import Body, Name, Parameters
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.stores import outputs
from contentgen_gateway.stores.queries import MOST
from contentgen_gateway.stores.records import Record
from contentgen_gateway.stores.verification import owned_key, owner_of

router = APIRouter(prefix="/api/jobs", tags=["jobs"], responses=RESPONSES)
_LARGEST = 4 * 2**20  # bytes of a dataset.json that is shown; one of 10,000 frames has as many
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


@router.get("/{job_id}/dataset")
async def get_dataset(caller: Calling, parts: Using, job_id: Name, window: Annotated[Window, Query()]) -> Dataset:
    """The training set of a LoRA, as soon as it is prepared."""
    record = await training(caller, parts, job_id)
    owner = owner_of(record, parts.files.key_of)
    for number, folder in _folders(parts, record, window.version):
        key = owned_key(owner, folder + "dataset.json")
        size = await parts.files.size(key) if key is not None else None
        if key is None or size is None:
            continue
        if size > _LARGEST:
            raise _too_large(job_id)
        async with parts.files.parsing:
            text = await parts.files.read(key, _LARGEST)
            if text is None:
                raise _too_large(job_id)  # replaced since
            index = await asyncio.to_thread(read_index, text)
            return await asyncio.to_thread(_page, (job_id, number), index, window, partial(_url, parts, owner, folder))
    raise Problem(404, f"job {job_id!r} has no dataset: it is not prepared yet, could not be, or is deleted")


def _too_large(job_id: str) -> Problem:
    return Problem(
        404,
        f"there is no dataset that can be shown: dataset.json is larger than {_LARGEST // 2**20} MiB; download it from "
        f"/api/assets/{job_id}/download/dataset.json",
    )


def _folders(parts: Dependencies, record: Record, wanted: int | None) -> Iterator[tuple[int, str]]:
    """Where the dataset may lie: that of the run under way comes before those that have ended."""
    made = outputs.versions_of(record)
    coming = max((each.get("version") or 1 for each in made), default=0) + 1
    if wanted in (None, coming):
        owner, job = str(record["userId"]), str(record["jobId"])
        yield coming, keys.prefix(Kind.LORA_TRAINING, Stage.PREPARE, owner, job, coming)
    for version in made:
        number = version.get("version") or 1
        folder = outputs.folder_of(Kind.LORA_TRAINING, Stage.PREPARE, version, parts.files.key_of)
        if wanted in (None, number) and folder is not None:
            yield number, folder


def _url(parts: Dependencies, owner: Owner, folder: str, name: str) -> str:
    key = owned_key(owner, folder + name)
    if key is None:
        raise Problem(404, "there is no dataset that can be shown: dataset.json names files that are none of it")
    return parts.files.signed(key)


def _page(whose: tuple[str, int], index: Index, window: Window, url: Callable[[str], str]) -> Dataset:
    part = slice(window.offset, window.offset + window.limit)
    return Dataset(
        job_id=whose[0],
        version=whose[1],
        total_images=len(index.images),
        total_rejected=len(index.rejected),
        rejected_by_reason=dict(Counter(each.reason for each in index.rejected).most_common()),
        sheet_url=url("preview.jpg"),
        images=[ShownFrame(**_fields(each), thumbnail_url=url(each.file)) for each in index.images[part]],
        rejected=index.rejected[part],
        shots=index.shots,
        next_offset=part.stop if part.stop < max(len(index.images), len(index.rejected)) else None,
    )


def _fields(frame: Frame) -> dict[str, Any]:
    return {name: getattr(frame, name) for name in Frame.model_fields}


def read_index(text: bytes) -> Index:
    """dataset.json as a value. Raises Problem 404 where it is not one of ours."""
    try:
        index = Index.model_validate_json(text)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Problem(404, f"there is no dataset that can be shown: dataset.json is damaged at {where!r}") from None
    if not all(keys.is_output(Kind.LORA_TRAINING, Stage.PREPARE, each.file) for each in index.images):
        raise Problem(404, "there is no dataset that can be shown: dataset.json names files that are none of it")
    return index
