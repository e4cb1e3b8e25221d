"""Pages of all pictures and of one picture; download of a file."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from contentgen_contract.names import Kind
from contentgen_contract.records import keys
from contentgen_contract.resources.models import SHORT_NAMES
from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.pages.rendering.forms import query_model, redirect
from contentgen_gateway.pages.rendering.page_route import PageRoute
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import Card, card
from contentgen_gateway.problems import NotFound
from contentgen_gateway.schemas.assets import pictures
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.downloads import DownloadQuery
from contentgen_gateway.schemas.listings import PictureListing
from contentgen_gateway.stores.outputs import Version, version_of
from contentgen_gateway.stores.records import Record

_JOBS = 24
_MODELS = SHORT_NAMES[Kind.IMAGE_GENERATION]
_FIELDS = ("model", "namespace", "userId", "from", "to", "order", "cursor")

router = APIRouter(route_class=PageRoute)


@router.get("/pictures")
async def list_pictures(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    query: Annotated[PictureListing, Depends(query_model(PictureListing, limit=_JOBS))],
) -> Response:
    """Page of pictures, newest first."""
    found = await services.assets.pictures(caller, query)
    chosen = {key: request.query_params.get(key, "") for key in _FIELDS}
    numbers: dict[str, int] = {}
    tiles = []
    for image in found.images:
        numbers[image.job_id] = numbers.get(image.job_id, 0) + 1
        tiles.append((image, numbers[image.job_id]))
    return render(request, "pictures.html", caller, tiles=tiles, found=found, chosen=chosen, models=_MODELS)


@router.get("/pictures/{job_id}")
async def show_picture(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    n: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> Response:
    """Page of one picture; `n` counts the pictures of all versions, newest version first."""
    record = await services.jobs.record(caller, job_id)
    made = pictures(record, services.files.signed_address)
    if record.get("type") != Kind.IMAGE_GENERATION.record_type or (made and n > len(made)):
        raise NotFound("job" if n == 1 else "picture", job_id)
    version = (version_of(record, made[n - 1].version) if made else None) or {}
    return render(
        request,
        "picture.html",
        caller,
        job=card(record),
        record=record,
        made=made,
        n=n,
        address=services.files.signed_address(made[n - 1].image_url) if made else "",
        version=version,
        loras=_applied(record, version, [card(lora) for lora in await services.assets.loras_of(caller, record)]),
    )


def _applied(record: Record, version: Version, loras: list[Card]) -> list[tuple[Card, int, str]]:
    """LoRAs of a version of pictures, with their own versions, and scales; the scale is empty for an older version."""
    used = {run.job_id: run.version for key in version.get("loras") or () if (run := keys.run_of(key)) is not None}
    asked = (record.get("config") or {}).get("loras") if version == version_of(record, None) else None
    scales = {
        each["loraRef"].get("name"): str(each.get("scale") or "")
        for each in (asked if isinstance(asked, list) else ())
        if isinstance(each, dict) and isinstance(each.get("loraRef"), dict)
    }
    return [(lora, used[lora.job_id], scales.get(lora.name, "")) for lora in loras if lora.job_id in used]


@router.get("/files/{job_id}")
async def download(
    caller: CallerDep, services: ServicesDep, job_id: Name, query: Annotated[DownloadQuery, Query()]
) -> Response:
    """Redirect to a signed URL of one file; counts as a download."""
    return redirect((await services.files.download(caller, job_id, query)).url)
