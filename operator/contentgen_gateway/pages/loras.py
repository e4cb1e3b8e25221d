"""Pages of all LoRAs and of one LoRA: versions, dataset and uses."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.pages.rendering.forms import query_model
from contentgen_gateway.pages.rendering.page_route import PageRoute
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import card
from contentgen_gateway.problems import Problem
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.dataset import Dataset, Window
from contentgen_gateway.schemas.listings import LoraListing
from contentgen_gateway.services.datasets import DatasetReader
from contentgen_gateway.stores.outputs import versions_of

_SHOWN = 48
_FRAMES = 24
_MADE = 24

router = APIRouter(route_class=PageRoute)


@router.get("/loras")
async def list_loras(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    query: Annotated[LoraListing, Depends(query_model(LoraListing, limit=_SHOWN))],
) -> Response:
    """Page of trained LoRAs."""
    return render(request, "loras.html", caller, found=await services.assets.loras(caller, query))


@router.get("/loras/{job_id}")
async def show_lora(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    window: Annotated[Window, Depends(query_model(Window, limit=_FRAMES))],
) -> Response:
    """Page of one LoRA."""
    record = await services.jobs.training(caller, job_id)
    stats = await services.usage.asset(caller, record)
    made = await services.jobs.stored(stats.used_in_jobs[:_MADE])
    return render(
        request,
        "lora.html",
        caller,
        job=card(record),
        record=record,
        versions=versions_of(record),
        dataset=await _dataset(caller, services.datasets, job_id, window),
        stats=stats,
        made=[card(each_record) for each_record in made],
        picture=services.files.signed_address,
    )


async def _dataset(caller: Caller, datasets: DatasetReader, job_id: str, window: Window) -> Dataset | None:
    """Page of the training set; None if it is missing."""
    try:
        return await datasets.page(caller, job_id, window)
    except Problem as problem:
        if problem.status != 404:
            raise
        return None
