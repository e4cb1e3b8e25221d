"""LoRAs: all of them, and one with its versions, its dataset and what was made with it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from contentgen_gateway.api.assets import LoraListing, list_loras
from contentgen_gateway.api.dataset import Dataset, Window, get_dataset
from contentgen_gateway.api.downloads import asset_stats
from contentgen_gateway.api.lora import training
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.pages.rendering.forms import asking
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import card, shown
from contentgen_gateway.problems import Problem
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.stores.outputs import versions_of

_SHOWN = 48
_FRAMES = 24
_MADE = 24

router = APIRouter()


@router.get("/loras")
async def all_loras(
    request: Request,
    caller: Calling,
    parts: Using,
    listed: Annotated[LoraListing, Depends(asking(LoraListing, limit=_SHOWN))],
) -> Response:
    """LoRAs that are trained."""
    return render(request, "loras.html", caller, found=await list_loras(caller, parts, listed))


@router.get("/loras/{job_id}")
async def one_lora(
    request: Request,
    caller: Calling,
    parts: Using,
    job_id: Name,
    window: Annotated[Window, Depends(asking(Window, limit=_FRAMES))],
) -> Response:
    """One LoRA."""
    record = await training(caller, parts, job_id)
    stats = await asset_stats(caller, parts, job_id)
    made = [await parts.records.get(each) for each in stats.used_in_jobs[:_MADE]]
    return render(
        request,
        "lora.html",
        caller,
        job=card(record),
        record=record,
        versions=versions_of(record),
        dataset=await _dataset(caller, parts, job_id, window),
        stats=stats,
        made=[card(each) for each in made if each],
        picture=lambda address: shown(parts.files, address),
    )


async def _dataset(caller: Caller, parts: Dependencies, job_id: str, window: Window) -> Dataset | None:
    """None where there is none, or none any more."""
    try:
        return await get_dataset(caller, parts, job_id, window)
    except Problem as problem:
        if problem.status != 404:
            raise
        return None
