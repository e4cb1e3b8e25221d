"""`/api/collections`: jobs that belong together, under a name.

A collection lies in a namespace, and rights on our kinds there decide: who may list any of them sees it, who may
create, patch or delete any of them may do so with collections. What is in one is told only to those who may see that
very job.
"""

import uuid
from collections import Counter
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from contentgen_gateway.api.create import namespace_of, require_may_name
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import EVERYWHERE, Verb
from contentgen_gateway.problems import RESPONSES, BadRequest, NotFound, Problem
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.collections import (
    AssetRef,
    CollectionDetails,
    CollectionEdit,
    CollectionList,
    CollectionListing,
    CollectionSummary,
    MoreAssets,
    NewCollection,
)
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.stores.collections import MOST_ASSETS, Collection, CollectionFilter, CollectionItem
from contentgen_gateway.stores.queries import JobFilter, continued, cursor_after

router = APIRouter(prefix="/api/collections", tags=["collections"], responses=RESPONSES)


@router.get("")
async def list_collections(
    caller: Calling, parts: Using, listed: Annotated[CollectionListing, Query()]
) -> CollectionList:
    """Collections that the caller may see, with counts."""
    wanted = continued(JobFilter(list_name="collections"), listed.cursor)
    namespaces = await _namespaces(caller, parts, listed.namespace, listed.user_id)
    tenants = await parts.tenants.of_all(namespaces or ())
    asked = CollectionFilter(namespaces, listed.user_id, listed.limit, tenants, wanted.after)
    found = await parts.collections.find(asked)
    page = found[: listed.limit]
    seen = await parts.sight.jobs(caller, {asset.job_id for each in page for asset in each.assets})
    last = {"createdAt": page[-1].created_at, "jobId": page[-1].collection_id} if page else {}
    return CollectionList(
        collections=[CollectionSummary.model_validate(_told(each, seen.keys())) for each in page],
        total=await parts.collections.count(asked),
        next_cursor=cursor_after(last, wanted) if len(found) > listed.limit else None,
    )


async def _namespaces(
    caller: Caller, parts: Dependencies, namespace: str | None, user_id: str | None
) -> tuple[str, ...] | None:
    """Where to look, as for jobs, and where collections lie beside no job; None: everywhere."""
    found = set((await parts.sight.scope(caller, namespace, user_id)).namespaces)
    if EVERYWHERE in found:
        return None
    if namespace is None and (user_id is not None or caller.home is None):
        others = await parts.collections.namespaces(user_id)
        found |= (await parts.access.which(caller, Verb.LIST, others)).keys()
    return tuple(sorted(found))


@router.post("", status_code=201)
async def create_collection(
    caller: Calling, parts: Using, wish: NewCollection, response: Response
) -> CollectionDetails:
    """A new collection."""
    namespace = namespace_of(caller, wish.namespace, parts.namespaces)
    if not await parts.access.which(caller, Verb.CREATE, [namespace]):
        raise Problem(403, f"you may not create anything in the namespace {namespace!r}")
    await require_may_name(caller, parts, wish.user_id, namespace)
    now = _now(parts)
    made = Collection(
        collection_id=str(uuid.uuid4()),
        namespace=namespace,
        user_id=wish.user_id or namespace,
        name=wish.name,
        description=wish.description,
        created_by=caller.name,
        created_at=now,
        updated_at=now,
        tenant=(await parts.tenants.of(namespace)).scope or None,
        assets=await _checked(caller, parts, wish.assets),
    )
    await parts.collections.add(made)
    response.headers["Location"] = f"/api/collections/{made.collection_id}"
    return await _details(caller, parts, made)


@router.get("/{collection_id}")
async def get_collection(caller: Calling, parts: Using, collection_id: Name) -> CollectionDetails:
    """One collection, and the jobs in it that the caller may see."""
    return await _details(caller, parts, await _held(caller, parts, collection_id))


@router.patch("/{collection_id}")
async def edit_collection(
    caller: Calling, parts: Using, collection_id: Name, wish: CollectionEdit
) -> CollectionDetails:
    """Another name or description, or other jobs."""
    await _held(caller, parts, collection_id, Verb.PATCH)
    fields: dict[str, Any] = wish.model_dump(include={"name", "description"}, exclude_none=True)
    if wish.assets is not None:
        fields["assets"] = await _checked(caller, parts, wish.assets)
    await parts.collections.change(collection_id, fields, _now(parts))
    return await _details(caller, parts, await _held(caller, parts, collection_id))


@router.delete("/{collection_id}", status_code=204)
async def delete_collection(caller: Calling, parts: Using, collection_id: Name) -> None:
    """Delete the collection; its jobs stay."""
    await _held(caller, parts, collection_id, Verb.DELETE)
    await parts.collections.delete(collection_id)


@router.post("/{collection_id}/assets")
async def put_assets(caller: Calling, parts: Using, collection_id: Name, wish: MoreAssets) -> CollectionDetails:
    """Put jobs in; one that is in already is fine."""
    there = await _held(caller, parts, collection_id, Verb.PATCH)
    given = await _checked(caller, parts, wish.assets)
    fresh = [each for each in given if each not in there.assets]
    if fresh and not await parts.collections.put(collection_id, fresh, _now(parts)):
        raise Problem(422, f"assets: a collection holds {MOST_ASSETS} jobs at most")
    return await _details(caller, parts, await _held(caller, parts, collection_id))


@router.delete("/{collection_id}/assets/{job_id}", status_code=204)
async def take_asset(caller: Calling, parts: Using, collection_id: Name, job_id: Name) -> None:
    """Take a job out; the job stays."""
    await _held(caller, parts, collection_id, Verb.PATCH)
    await parts.collections.take(collection_id, job_id, _now(parts))


async def _held(caller: Caller, parts: Dependencies, collection_id: str, verb: Verb = Verb.LIST) -> Collection:
    """Raises NotFound where the caller may not see it, Problem 403 where they may only see it."""
    found = await parts.collections.get(collection_id)
    # Kubernetes is asked in either case: how long an answer takes tells nothing.
    place = {"namespace": found.namespace, "tenant": found.tenant, "createdAt": found.created_at} if found else {}
    namespace = await parts.tenants.authority(place)
    if not await parts.access.which(caller, Verb.LIST, [namespace]) or found is None:
        raise NotFound("collection", collection_id)
    if not await parts.access.which(caller, verb, [namespace]):
        raise Problem(403, f"you may see the collection {collection_id!r}, but not {verb.value} it")
    return found


async def _checked(caller: Caller, parts: Dependencies, given: list[AssetRef]) -> tuple[CollectionItem, ...]:
    """Each once, as the records have them. Raises BadRequest for one that the caller may not see."""
    seen = await parts.sight.jobs(caller, {each.job_id for each in given})
    found: dict[str, CollectionItem] = {}
    for index, each in enumerate(given):
        record = seen.get(each.job_id)
        if record is None:
            raise BadRequest(f"assets.{index}.jobId", each.job_id, "a job that you may see")
        if each.type not in (None, record["type"]):
            raise BadRequest(f"assets.{index}.type", each.type, f"what the job is: {record['type']}")
        found[each.job_id] = CollectionItem(record["type"], each.job_id)
    return tuple(found.values())


async def _details(caller: Caller, parts: Dependencies, found: Collection) -> CollectionDetails:
    seen = await parts.sight.jobs(caller, {each.job_id for each in found.assets})
    assets = [AssetRef.model_validate({"type": e.type, "jobId": e.job_id}) for e in found.assets if e.job_id in seen]
    return CollectionDetails.model_validate(_told(found, seen.keys()) | {"assets": assets})


def _told(found: Collection, seen: Any) -> dict[str, Any]:
    counts = Counter(each.type for each in found.assets if each.job_id in seen)
    return {
        "collectionId": found.collection_id,
        "namespace": found.namespace,
        "userId": found.user_id,
        "name": found.name,
        "description": found.description,
        "assetCount": counts.total(),
        "assetsByType": dict(counts),
        "createdBy": found.created_by,
        "createdAt": found.created_at,
        "updatedAt": found.updated_at,
    }


def _now(parts: Dependencies) -> datetime:
    """As MongoDB keeps it: in milliseconds."""
    now = parts.clock()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
