"""Collections: all of them, one with what is in it, and forms that change them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response

from contentgen_gateway.api import collections as api
from contentgen_gateway.pages.rendering.forms import asking, to, validated
from contentgen_gateway.pages.rendering.render import render
from contentgen_gateway.pages.rendering.views import card, shown
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.collections import AssetRef, CollectionListing, MoreAssets, NewCollection
from contentgen_gateway.services.dependencies import Calling, Using

router = APIRouter()


@router.get("/collections")
async def all_collections(
    request: Request,
    caller: Calling,
    parts: Using,
    listed: Annotated[CollectionListing, Depends(asking(CollectionListing, limit=50))],
) -> Response:
    """Collections."""
    found = await api.list_collections(caller, parts, listed)
    return render(request, "collections.html", caller, found=found)


@router.post("/collections")
async def create(
    caller: Calling,
    parts: Using,
    name: Annotated[str, Form()] = "",
    description: Annotated[str, Form()] = "",
    namespace: Annotated[str, Form()] = "",
) -> Response:
    """A new one."""
    given = {"name": name.strip(), "description": description, "namespace": namespace.strip()}
    wish = validated(NewCollection, {key: value for key, value in given.items() if value or key == "name"})
    made = await api.create_collection(caller, parts, wish, Response())
    return to(f"/collections/{made.collection_id}?said=saved")


@router.get("/collections/{collection_id}")
async def one_collection(request: Request, caller: Calling, parts: Using, collection_id: Name) -> Response:
    """One, and what is in it that the caller may see."""
    found = await api.get_collection(caller, parts, collection_id)
    records = [await parts.records.get(each.job_id) for each in found.assets]
    return render(
        request,
        "collection.html",
        caller,
        found=found,
        jobs=[card(each) for each in records if each],
        picture=lambda address: shown(parts.files, address),
    )


@router.post("/collections/{collection_id}/put")
async def put(caller: Calling, parts: Using, collection_id: Name, job_id: Annotated[str, Form()] = "") -> Response:
    """Put a job in."""
    wish = MoreAssets(assets=[validated(AssetRef, {"jobId": job_id.strip()})])
    await api.put_assets(caller, parts, collection_id, wish)
    return to(f"/collections/{collection_id}?said=added")


@router.post("/collections/{collection_id}/take")
async def take(caller: Calling, parts: Using, collection_id: Name, job_id: Annotated[str, Form()] = "") -> Response:
    """Take a job out; the job stays."""
    await api.take_asset(caller, parts, collection_id, validated(AssetRef, {"jobId": job_id}).job_id)
    return to(f"/collections/{collection_id}?said=removed")


@router.post("/collections/{collection_id}/delete")
async def delete(caller: Calling, parts: Using, collection_id: Name) -> Response:
    """Delete the collection; its jobs stay."""
    await api.delete_collection(caller, parts, collection_id)
    return to("/collections?said=deleted-collection")
