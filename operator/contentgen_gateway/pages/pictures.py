"""The gallery, a picture with what it was made of, and the download of any job's file."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from contentgen_contract.names import Kind
from contentgen_gateway.injection import AssetsDep, CallerDep, FilesDep, JobsDep
from contentgen_gateway.pages.rendering.forms import query_model, redirect
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import card
from contentgen_gateway.problems import NotFound
from contentgen_gateway.schemas.assets import pictures
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.downloads import DownloadQuery
from contentgen_gateway.schemas.listings import PictureListing
from contentgen_gateway.stores.outputs import versions_of

_JOBS = 24
_FIELDS = ("model", "namespace", "userId", "from", "to", "order", "cursor")

router = APIRouter()


@router.get("/pictures")
async def gallery(
    request: Request,
    caller: CallerDep,
    assets: AssetsDep,
    query: Annotated[PictureListing, Depends(query_model(PictureListing, limit=_JOBS))],
) -> Response:
    """Pictures, the newest first."""
    found = await assets.pictures(caller, query)
    chosen = {key: request.query_params.get(key, "") for key in _FIELDS}
    numbers: dict[str, int] = {}
    tiles = []
    for each in found.images:
        numbers[each.job_id] = numbers.get(each.job_id, 0) + 1
        tiles.append((each, numbers[each.job_id]))
    return render(request, "pictures.html", caller, tiles=tiles, found=found, chosen=chosen)


@router.get("/pictures/{job_id}")
async def one_picture(
    *,
    request: Request,
    caller: CallerDep,
    jobs: JobsDep,
    assets: AssetsDep,
    files: FilesDep,
    job_id: Name,
    n: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> Response:
    """One picture; `n` counts those of all versions, the newest first."""
    record = await jobs.record(caller, job_id)
    made = pictures(record, files.signed_address)
    if record.get("type") != Kind.IMAGE_GENERATION.record_type or (made and n > len(made)):
        raise NotFound("job" if n == 1 else "picture", job_id)
    return render(
        request,
        "picture.html",
        caller,
        job=card(record),
        record=record,
        made=made,
        n=n,
        address=files.signed_address(made[n - 1].image_url) if made else "",
        seeds={each.get("version"): each.get("seed") for each in versions_of(record)},
        loras=[card(each) for each in await assets.loras_of(caller, record)],
    )


@router.get("/files/{job_id}")
async def fetch(caller: CallerDep, files: FilesDep, job_id: Name, query: Annotated[DownloadQuery, Query()]) -> Response:
    """On to a signed address of one file. It is counted as a download."""
    return redirect((await files.download(caller, job_id, query)).url)
