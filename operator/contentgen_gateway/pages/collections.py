"""Pages of collections, and forms that change them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from pydantic import ValidationError

from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.pages.rendering.forms import query_model, redirect, validated
from contentgen_gateway.pages.rendering.page_route import PageRoute
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import card
from contentgen_gateway.problems import BadRequest
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.collections import AssetRef, CollectionListing, MoreAssets, NewCollection

_JOB_ID = "the id of a job that you may see: the last part of the address of its page, and not its name"

router = APIRouter(route_class=PageRoute)


@router.get("/collections")
async def list_collections(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    query: Annotated[CollectionListing, Depends(query_model(CollectionListing, limit=50))],
) -> Response:
    """Page of all collections."""
    found = await services.collections.list_collections(caller, query)
    return render(request, "collections.html", caller, found=found)


@router.post("/collections")
async def create(
    caller: CallerDep,
    services: ServicesDep,
    name: Annotated[str, Form()] = "",
    description: Annotated[str, Form()] = "",
    namespace: Annotated[str, Form()] = "",
) -> Response:
    """Create a collection."""
    given = {"name": name.strip(), "description": description, "namespace": namespace.strip()}
    body = validated(NewCollection, {key: value for key, value in given.items() if value or key == "name"})
    made = await services.collections.create(caller, body)
    return redirect(f"/collections/{made.collection_id}?said=saved")


@router.get("/collections/{collection_id}")
async def show_collection(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    collection_id: Name,
) -> Response:
    """Page of one collection, with the jobs in it that the caller may see."""
    found = await services.collections.get(caller, collection_id)
    records = await services.jobs.stored(asset.job_id for asset in found.assets)
    return render(
        request,
        "collection.html",
        caller,
        found=found,
        jobs=[card(record) for record in records],
        picture=services.files.signed_address,
    )


@router.post("/collections/{collection_id}/put")
async def add_job(
    caller: CallerDep, services: ServicesDep, collection_id: Name, job_id: Annotated[str, Form()] = ""
) -> Response:
    """Add a job."""
    given = job_id.strip()
    try:
        added = AssetRef(job_id=given.rstrip("/").rpartition("/")[2])  # the address of its page, too
        await services.collections.put(caller, collection_id, MoreAssets(assets=[added]))
    except (ValidationError, BadRequest):
        raise BadRequest("job_id", given[:64], _JOB_ID) from None
    return redirect(f"/collections/{collection_id}?said=added")


@router.post("/collections/{collection_id}/take")
async def remove_job(
    caller: CallerDep, services: ServicesDep, collection_id: Name, job_id: Annotated[str, Form()] = ""
) -> Response:
    """Remove a job; the job stays."""
    await services.collections.take(caller, collection_id, validated(AssetRef, {"jobId": job_id}).job_id)
    return redirect(f"/collections/{collection_id}?said=removed")


@router.post("/collections/{collection_id}/delete")
async def delete(caller: CallerDep, services: ServicesDep, collection_id: Name) -> Response:
    """Delete the collection; its jobs stay."""
    await services.collections.delete(caller, collection_id)
    return redirect("/collections?said=deleted-collection")
