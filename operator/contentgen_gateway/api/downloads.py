"""`/api/assets/{jobId}/download` and `/stats`: a file of a job for a while, and what became of the asset."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_gateway.auth.visibility import KINDS
from contentgen_gateway.problems import RESPONSES, BadRequest, Problem
from contentgen_gateway.schemas.bodies import Body, Name, Parameters
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.services.uses import users_of, visible
from contentgen_gateway.stores import outputs
from contentgen_gateway.stores.files import LONGEST, PERSON_URL_LIFETIME
from contentgen_gateway.stores.records import Record
from contentgen_gateway.stores.verification import OwnedKey, owned_key, owner_of

router = APIRouter(prefix="/api/assets", tags=["assets"], responses=RESPONSES)
GB = 10**9
_REDIRECTED: dict[int | str, dict[str, Any]] = {307: {"description": "The file, for 15 minutes."}}


class Wish(Parameters):
    """Which file, and for how long."""

    file: str | None = Field(
        None,
        max_length=64,
        description="Such as transcript.txt; the model, the first picture, the text when left out.",
        examples=["transcript.txt"],
    )
    version: int | None = Field(None, ge=1, le=999_999, description="Of this version; of the newest when left out.")
    expires: int = Field(
        int(PERSON_URL_LIFETIME.total_seconds()),
        ge=1,
        le=int(LONGEST.total_seconds()),
        description="For so many seconds.",
    )


class Download(Body):
    """Where a file can be had without signing in."""

    url: str
    expires_at: datetime
    file: str
    version: int
    size_bytes: int


class AssetStats(Body):
    """What became of an asset."""

    downloads: int = Field(description="How often one of its files was asked for.")
    last_accessed: datetime | None
    storage_cost: float = Field(description="Dollars a month.")
    used_in_jobs: list[str] = Field(description="jobIds of what was or is made with it, of those that you may see.")


@router.get("/{job_id}/download")
async def download(
    caller: Calling, parts: Using, response: Response, job_id: Name, wish: Annotated[Wish, Query()]
) -> Download:
    """A signed URL of one file. It is counted as a download."""
    record = await parts.sight.job(caller, job_id)
    file, version, key = located(parts, record, wish.file, wish.version)
    size = await parts.files.size(key)
    if size is None:
        raise _nothing(job_id, file)
    now = parts.clock()
    await parts.records.note_download(job_id, now)
    response.headers["Cache-Control"] = "no-store"
    lifetime = timedelta(seconds=wish.expires)
    url = parts.files.url(key, lifetime)
    return Download(url=url, expires_at=now + lifetime, file=file, version=version, size_bytes=size)


@router.get("/{job_id}/download/{file:path}", status_code=307, response_class=RedirectResponse, responses=_REDIRECTED)
async def fetch(
    caller: Calling, parts: Using, job_id: Name, file: Annotated[str, Path(max_length=64)]
) -> RedirectResponse:
    """On to a signed URL of one file, for `curl -L` and links. It is counted as a download."""
    there = await download(caller, parts, Response(), job_id, Wish(file=file))
    return RedirectResponse(there.url, headers={"Cache-Control": "no-store"})


def located(parts: Dependencies, record: Record, file: str | None, number: int | None) -> tuple[str, int, OwnedKey]:
    """The name, version and key of a job's file. Raises BadRequest, or Problem 404."""
    kind = KINDS[str(record["type"])]
    version = outputs.version_of(record, number)
    name = file or outputs.main_file(kind, version or {})
    stage = outputs.stage_of(kind, name)
    if stage is None:
        raise BadRequest("file", file, f"a file of this job, such as {outputs.FILES[kind]}")
    folder = outputs.folder_of(kind, stage, version, parts.files.key_of) if version else _prepared(kind, stage, record)
    if folder is None or (version is None and number not in (None, 1)):
        raise _nothing(str(record["jobId"]), name)
    key = owned_key(owner_of(record, parts.files.key_of), folder + name)
    if key is None:
        raise _nothing(str(record["jobId"]), name)
    return name, (version or {}).get("version") or 1, key


def _prepared(kind: Kind, stage: Stage, record: Record) -> str | None:
    """A run that has not ended, or failed, may have prepared something."""
    if stage is not Stage.PREPARE:
        return None
    return keys.prefix(kind, stage, str(record["userId"]), str(record["jobId"]), 1)


def _nothing(job_id: str, file: str) -> Problem:
    return Problem(404, f"job {job_id!r} has no file {file!r}: it is not made yet, was not asked for, or is deleted")


@router.get("/{job_id}/stats")
async def asset_stats(caller: Calling, parts: Using, job_id: Name) -> AssetStats:
    """How often it was fetched, what its files cost, and what was made with it."""
    record = await parts.sight.job(caller, job_id)
    size = record.get("bytes") or 0
    return AssetStats(
        downloads=record.get("downloads") or 0,
        last_accessed=record.get("lastAccessed"),
        storage_cost=round(size / GB * parts.settings.gateway_storage_dollars_per_gb, 6),
        used_in_jobs=[each["jobId"] for each in await visible(caller, parts, await users_of(parts, record))],
    )
