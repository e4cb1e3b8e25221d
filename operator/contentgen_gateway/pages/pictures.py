"""The gallery, a picture with what it was made of, and the download of any job's file."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from contentgen_contract.names import Kind
from contentgen_contract.records import keys
from contentgen_gateway.api.assets import PictureListing, list_images
from contentgen_gateway.api.downloads import Wish, download
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.pages.rendering.forms import asking, to
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import Card, card, shown
from contentgen_gateway.problems import NotFound
from contentgen_gateway.schemas.assets import pictures
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.stores.outputs import versions_of
from contentgen_gateway.stores.records import Record

_JOBS = 24
_FIELDS = ("model", "namespace", "userId", "from", "to", "order", "cursor")

router = APIRouter()


@router.get("/pictures")
async def gallery(
    request: Request,
    caller: Calling,
    parts: Using,
    listed: Annotated[PictureListing, Depends(asking(PictureListing, limit=_JOBS))],
) -> Response:
    """Pictures, the newest first."""
    found = await list_images(caller, parts, listed)
    chosen = {key: request.query_params.get(key, "") for key in _FIELDS}
    numbers: dict[str, int] = {}
    tiles = []
    for each in found.images:
        numbers[each.job_id] = numbers.get(each.job_id, 0) + 1
        tiles.append((each, numbers[each.job_id]))
    return render(request, "pictures.html", caller, tiles=tiles, found=found, chosen=chosen)


@router.get("/pictures/{job_id}")
async def one_picture(
    request: Request, caller: Calling, parts: Using, job_id: Name, n: Annotated[int, Query(ge=1, le=10_000)] = 1
) -> Response:
    """One picture; `n` counts those of all versions, the newest first."""
    record = await parts.sight.job(caller, job_id)
    made = pictures(record, lambda address: shown(parts.files, address))
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
        address=shown(parts.files, made[n - 1].image_url) if made else "",
        seeds={each.get("version"): each.get("seed") for each in versions_of(record)},
        loras=await loras_of(caller, parts, record),
    )


async def loras_of(caller: Caller, parts: Dependencies, record: Record) -> list[Card]:
    """The LoRAs that pictures were drawn with, of those that the caller may see."""
    used = (keys.run_of(key) for each in versions_of(record) for key in each.get("loras") or ())
    seen = await parts.sight.jobs(caller, {run.job_id for run in used if run is not None})
    whole = [await parts.records.get(job_id) for job_id in sorted(seen)]
    return [card(each) for each in whole if each]


@router.get("/files/{job_id}")
async def fetch(caller: Calling, parts: Using, job_id: Name, wish: Annotated[Wish, Query()]) -> Response:
    """On to a signed address of one file. It is counted as a download."""
    return to((await download(caller, parts, Response(), job_id, wish)).url)
