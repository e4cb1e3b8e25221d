"""Collections: named groups of jobs in a namespace.

The caller's rights on our kinds in that namespace apply: a right to list any kind shows a collection, and a right to
create, patch or delete any kind allows the same for collections. Jobs in it are listed only if the caller may see them.
"""

import uuid
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Authorizer, Verb
from contentgen_gateway.auth.tenants import Tenants
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.problems import BadRequest, NotFound, Problem
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
from contentgen_gateway.services.ownership import namespace_of, require_may_name
from contentgen_gateway.stores.collections import (
    MOST_ASSETS,
    Collection,
    CollectionFilter,
    CollectionItem,
    Collections,
)
from contentgen_gateway.stores.queries import EVERYWHERE, JobFilter, cursor_after, with_cursor
from contentgen_runtime.clock import Clock
from contentgen_runtime.namespaces import Namespaces


@dataclass(frozen=True, slots=True)
class CollectionEditor:
    """Collections that a caller may see or change."""

    collections: Collections
    visibility: Visibility
    authorizer: Authorizer
    tenants: Tenants
    namespaces: Namespaces
    clock: Clock

    async def list_collections(self, caller: Caller, given: CollectionListing) -> CollectionList:
        """Page of collections, with counts of the jobs that the caller may see. Raises BadRequest."""
        wanted = with_cursor(JobFilter(list_name="collections"), given.cursor)
        namespaces = await self._namespaces(caller, given.namespace, given.user_id)
        tenants = await self.tenants.of_all(namespaces or ())
        query = CollectionFilter(namespaces, given.user_id, given.limit, tenants, wanted.after)
        found = await self.collections.find(query)
        page = found[: given.limit]
        seen = await self.visibility.jobs(caller, {asset.job_id for collection in page for asset in collection.assets})
        last = {"createdAt": page[-1].created_at, "jobId": page[-1].collection_id} if page else {}
        return CollectionList(
            collections=[CollectionSummary.model_validate(_summary(collection, seen.keys())) for collection in page],
            total=await self.collections.count(query),
            next_cursor=cursor_after(last, wanted) if len(found) > given.limit else None,
        )

    async def _namespaces(self, caller: Caller, namespace: str | None, user_id: str | None) -> tuple[str, ...] | None:
        """Namespaces to search: those of visible jobs, and those with collections but no job; None: all."""
        found = set((await self.visibility.scope(caller, namespace, user_id)).namespaces)
        if EVERYWHERE in found:
            return None
        if namespace is None and (user_id is not None or caller.home is None):
            others = await self.collections.namespaces(user_id)
            found |= (await self.authorizer.which(caller, Verb.LIST, others)).keys()
        return tuple(sorted(found))

    async def create(self, caller: Caller, body: NewCollection) -> CollectionDetails:
        """The new collection. Raises Problem."""
        namespace = namespace_of(caller, body.namespace, self.namespaces)
        if not await self.authorizer.which(caller, Verb.CREATE, [namespace]):
            raise Problem(403, f"you may not create anything in the namespace {namespace!r}")
        await require_may_name(self.authorizer, caller, body.user_id, namespace)
        now = self._now()
        made = Collection(
            collection_id=str(uuid.uuid4()),
            namespace=namespace,
            user_id=body.user_id or namespace,
            name=body.name,
            description=body.description,
            created_by=caller.name,
            created_at=now,
            updated_at=now,
            tenant=(await self.tenants.of(namespace)).scope or None,
            assets=await self._items(caller, body.assets),
        )
        await self.collections.add(made)
        return await self._details(caller, made)

    async def get(self, caller: Caller, collection_id: str) -> CollectionDetails:
        """One collection, with the jobs in it that the caller may see. Raises NotFound."""
        return await self._details(caller, await self._load(caller, collection_id))

    async def edit(self, caller: Caller, collection_id: str, body: CollectionEdit) -> CollectionDetails:
        """The edited collection: another name or description, or other jobs. Raises Problem."""
        await self._load(caller, collection_id, Verb.PATCH)
        fields: dict[str, Any] = body.model_dump(include={"name", "description"}, exclude_none=True)
        if body.assets is not None:
            fields["assets"] = await self._items(caller, body.assets)
        await self.collections.change(collection_id, fields, self._now())
        return await self.get(caller, collection_id)

    async def delete(self, caller: Caller, collection_id: str) -> None:
        """Delete a collection; its jobs stay. Raises Problem."""
        await self._load(caller, collection_id, Verb.DELETE)
        await self.collections.delete(collection_id)

    async def put(self, caller: Caller, collection_id: str, body: MoreAssets) -> CollectionDetails:
        """The collection with more jobs. Idempotent. Raises Problem."""
        there = await self._load(caller, collection_id, Verb.PATCH)
        given = await self._items(caller, body.assets)
        present = frozenset(there.assets)
        fresh = [asset for asset in given if asset not in present]
        if fresh and not await self.collections.add_assets(collection_id, fresh, self._now()):
            raise Problem(422, f"assets: a collection can have at most {MOST_ASSETS} jobs")
        return await self.get(caller, collection_id)

    async def take(self, caller: Caller, collection_id: str, job_id: str) -> None:
        """Remove a job from a collection; the job stays. Raises Problem."""
        await self._load(caller, collection_id, Verb.PATCH)
        await self.collections.remove_asset(collection_id, job_id, self._now())

    async def _load(self, caller: Caller, collection_id: str, verb: Verb = Verb.LIST) -> Collection:
        """Raises NotFound if the caller may not see it, Problem 403 if they may only see it."""
        found = await self.collections.get(collection_id)
        # Kubernetes is asked also about a missing collection, so that response times do not tell which ones exist.
        place = {"namespace": found.namespace, "tenant": found.tenant, "createdAt": found.created_at} if found else {}
        namespace = await self.tenants.authority(place)
        if not await self.authorizer.which(caller, Verb.LIST, [namespace]) or found is None:
            raise NotFound("collection", collection_id)
        if not await self.authorizer.which(caller, verb, [namespace]):
            raise Problem(403, f"you may see the collection {collection_id!r}, but not {verb.value} it")
        return found

    async def _items(self, caller: Caller, given: list[AssetRef]) -> tuple[CollectionItem, ...]:
        """Each job once, with the type of its record. Raises BadRequest for one that the caller may not see."""
        seen = await self.visibility.jobs(caller, {asset.job_id for asset in given})
        found: dict[str, CollectionItem] = {}
        for index, each in enumerate(given):
            record = seen.get(each.job_id)
            if record is None:
                raise BadRequest(f"assets.{index}.jobId", each.job_id, "a job that you may see")
            if each.type not in (None, record["type"]):
                raise BadRequest(f"assets.{index}.type", each.type, f"the type of the job: {record['type']}")
            found[each.job_id] = CollectionItem(record["type"], each.job_id)
        return tuple(found.values())

    async def _details(self, caller: Caller, found: Collection) -> CollectionDetails:
        seen = await self.visibility.jobs(caller, {asset.job_id for asset in found.assets})
        assets = [
            AssetRef.model_validate({"type": e.type, "jobId": e.job_id}) for e in found.assets if e.job_id in seen
        ]
        return CollectionDetails.model_validate(_summary(found, seen.keys()) | {"assets": assets})

    def _now(self) -> datetime:
        """Current time in milliseconds, the precision of MongoDB."""
        now = self.clock()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _summary(found: Collection, seen: Container[str]) -> dict[str, Any]:
    counts = Counter(asset.type for asset in found.assets if asset.job_id in seen)
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
