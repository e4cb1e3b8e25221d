"""`/api/collections`: named groups of jobs."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.collections import (
    CollectionDetails,
    CollectionEdit,
    CollectionList,
    CollectionListing,
    MoreAssets,
    NewCollection,
)

router = APIRouter(prefix="/api/collections", tags=["collections"], responses=RESPONSES)


@router.get("")
async def list_collections(
    caller: CallerDep, services: ServicesDep, query: Annotated[CollectionListing, Query()]
) -> CollectionList:
    """Page of the collections that the caller may see, with counts of jobs."""
    return await services.collections.list_collections(caller, query)


@router.post("", status_code=201)
async def create_collection(
    caller: CallerDep, services: ServicesDep, body: NewCollection, response: Response
) -> CollectionDetails:
    """Create a collection."""
    made = await services.collections.create(caller, body)
    response.headers["Location"] = f"/api/collections/{made.collection_id}"
    return made


@router.get("/{collection_id}")
async def get_collection(caller: CallerDep, services: ServicesDep, collection_id: Name) -> CollectionDetails:
    """One collection, with the jobs in it that the caller may see."""
    return await services.collections.get(caller, collection_id)


@router.patch("/{collection_id}")
async def edit_collection(
    caller: CallerDep, services: ServicesDep, collection_id: Name, body: CollectionEdit
) -> CollectionDetails:
    """Change name, description or jobs of a collection."""
    return await services.collections.edit(caller, collection_id, body)


@router.delete("/{collection_id}", status_code=204)
async def delete_collection(caller: CallerDep, services: ServicesDep, collection_id: Name) -> None:
    """Delete the collection; its jobs stay."""
    await services.collections.delete(caller, collection_id)


@router.post("/{collection_id}/assets")
async def put_assets(
    caller: CallerDep, services: ServicesDep, collection_id: Name, body: MoreAssets
) -> CollectionDetails:
    """Add jobs to a collection. Idempotent."""
    return await services.collections.put(caller, collection_id, body)


@router.delete("/{collection_id}/assets/{job_id}", status_code=204)
async def take_asset(caller: CallerDep, services: ServicesDep, collection_id: Name, job_id: Name) -> None:
    """Remove a job from a collection; the job stays."""
    await services.collections.take(caller, collection_id, job_id)
