"""`/api/collections`: jobs that belong together, under a name."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from contentgen_gateway.injection import CallerDep, CollectionsDep
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
    caller: CallerDep, collections: CollectionsDep, query: Annotated[CollectionListing, Query()]
) -> CollectionList:
    """Collections that the caller may see, with counts."""
    return await collections.list_collections(caller, query)


@router.post("", status_code=201)
async def create_collection(
    caller: CallerDep, collections: CollectionsDep, body: NewCollection, response: Response
) -> CollectionDetails:
    """A new collection."""
    made = await collections.create(caller, body)
    response.headers["Location"] = f"/api/collections/{made.collection_id}"
    return made


@router.get("/{collection_id}")
async def get_collection(caller: CallerDep, collections: CollectionsDep, collection_id: Name) -> CollectionDetails:
    """One collection, and the jobs in it that the caller may see."""
    return await collections.get(caller, collection_id)


@router.patch("/{collection_id}")
async def edit_collection(
    caller: CallerDep, collections: CollectionsDep, collection_id: Name, body: CollectionEdit
) -> CollectionDetails:
    """Another name or description, or other jobs."""
    return await collections.edit(caller, collection_id, body)


@router.delete("/{collection_id}", status_code=204)
async def delete_collection(caller: CallerDep, collections: CollectionsDep, collection_id: Name) -> None:
    """Delete the collection; its jobs stay."""
    await collections.delete(caller, collection_id)


@router.post("/{collection_id}/assets")
async def put_assets(
    caller: CallerDep, collections: CollectionsDep, collection_id: Name, body: MoreAssets
) -> CollectionDetails:
    """Put jobs in; one that is in already is fine."""
    return await collections.put(caller, collection_id, body)


@router.delete("/{collection_id}/assets/{job_id}", status_code=204)
async def take_asset(caller: CallerDep, collections: CollectionsDep, collection_id: Name, job_id: Name) -> None:
    """Take a job out; the job stays."""
    await collections.take(caller, collection_id, job_id)
