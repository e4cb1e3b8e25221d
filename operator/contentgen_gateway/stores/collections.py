"""Collections as they are kept: named lists of jobs. What is in one is seen only by those who may see that very job."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pymongo.collection import Collection as MongoCollection

from contentgen_contract.records.indexes import Keys
from contentgen_contract.records.tenancy import Tenant
from contentgen_gateway.stores.queries import MOST, NOTHING, Filter, Place, in_namespaces
from contentgen_runtime.mongo import create_indexes

Document = dict[str, Any]
_NEWEST: Keys = (("createdAt", -1), ("collectionId", -1))
INDEXES: dict[str, Keys] = {
    "collection_id": (("collectionId", 1),),
    "created": _NEWEST,
    "user_created": (("userId", 1), *_NEWEST),
    "namespace_created": (("namespace", 1), *_NEWEST),
    "namespace_user_created": (("namespace", 1), ("userId", 1), *_NEWEST),
    "asset": (("assets.jobId", 1),),
}
"""`collection_id` is unique."""
MOST_ASSETS = 200


@dataclass(frozen=True, slots=True)
class CollectionItem:
    """One job in a collection."""

    type: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Collection:
    """A named list of jobs."""

    collection_id: str
    namespace: str
    user_id: str
    name: str
    description: str
    created_by: str
    created_at: datetime
    updated_at: datetime
    tenant: str | None = None  # the scope of the namespace
    assets: tuple[CollectionItem, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectionFilter:
    """Which collections a list should hold; `namespaces` None: of all."""

    namespaces: tuple[str, ...] | None
    user_id: str | None = None
    limit: int = 50
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    after: Place | None = None

    def filter(self) -> Filter:
        """Without the page."""
        found: Filter = {}
        if self.namespaces is not None:
            either = in_namespaces(self.namespaces, self.tenants)
            found |= _any(either)
        if self.user_id is not None:
            found["userId"] = {"$eq": self.user_id}
        return found

    def page(self) -> Filter:
        """What comes after the page before."""
        if self.after is None:
            return self.filter()
        at, last = self.after
        beyond = [{"createdAt": {"$lt": at}}, {"createdAt": {"$eq": at}, "collectionId": {"$lt": last}}]
        return self.filter() | {"$or": beyond}

    @property
    def index(self) -> str:
        """Which of the indexes serves it."""
        parts = ("namespace_" * (self.namespaces is not None), "user_" * (self.user_id is not None))
        return f"{''.join(parts)}created"


class Collections:
    """The collection `collections`. pymongo is synchronous: every call runs in a thread."""

    def __init__(self, collection: MongoCollection[Document]) -> None:
        self._collection = collection

    def create_indexes(self) -> None:
        """Idempotent."""
        create_indexes(self._collection, INDEXES, unique="collection_id")

    async def get(self, collection_id: str) -> Collection | None:
        """One."""
        found = await asyncio.to_thread(self._collection.find_one, _named(collection_id))
        return _parsed(found) if found else None

    async def find(self, asked: CollectionFilter) -> list[Collection]:
        """Those of a page, and one more where another page follows."""
        return await asyncio.to_thread(self._find, asked)

    def _find(self, asked: CollectionFilter) -> list[Collection]:
        found = self._collection.find(asked.page()).sort(list(_NEWEST)).limit(min(asked.limit, MOST) + 1)
        return [_parsed(each) for each in found]

    async def namespaces(self, user_id: str | None) -> list[str]:
        """Those that have collections, of one user's or of all."""
        matching = {"userId": {"$eq": user_id}} if user_id else {}
        return sorted(await asyncio.to_thread(self._collection.distinct, "namespace", matching))

    async def count(self, asked: CollectionFilter) -> int:
        """How many there are on all pages."""
        return await asyncio.to_thread(self._collection.count_documents, asked.filter())

    async def add(self, made: Collection) -> None:
        """A new one."""
        document = {
            "collectionId": made.collection_id,
            "namespace": made.namespace,
            "tenant": made.tenant,
            "userId": made.user_id,
            "name": made.name,
            "description": made.description,
            "createdBy": made.created_by,
            "createdAt": made.created_at,
            "updatedAt": made.updated_at,
            "assets": _documents(made.assets),
        }
        await asyncio.to_thread(self._collection.insert_one, document)

    async def change(self, collection_id: str, fields: Document, now: datetime) -> None:
        """Other values; `assets` are a tuple of `CollectionItem`."""
        values = {key: _documents(value) if key == "assets" else value for key, value in fields.items()}
        change = {"$set": values | {"updatedAt": now}}
        await asyncio.to_thread(self._collection.update_one, _named(collection_id), change)

    async def put(self, collection_id: str, assets: Sequence[CollectionItem], now: datetime) -> bool:
        """Put these in, each once; False where there would be more than `MOST_ASSETS`, and then none is."""
        room = _named(collection_id) | {f"assets.{MOST_ASSETS - len(assets)}": {"$exists": False}}
        change = {"$addToSet": {"assets": {"$each": _documents(assets)}}, "$set": {"updatedAt": now}}
        done = await asyncio.to_thread(self._collection.update_one, room, change)
        return done.matched_count == 1

    async def take(self, collection_id: str, job_id: str, now: datetime) -> None:
        """Take a job out; one that is not in is fine."""
        change = {"$pull": {"assets": {"jobId": job_id}}, "$set": {"updatedAt": now}}
        await asyncio.to_thread(self._collection.update_one, _named(collection_id), change)

    async def delete(self, collection_id: str) -> None:
        """Its jobs stay."""
        await asyncio.to_thread(self._collection.delete_one, _named(collection_id))

    async def forget(self, job_id: str) -> None:
        """The job is gone, from everywhere."""
        change = {"$pull": {"assets": {"jobId": job_id}}}
        await asyncio.to_thread(self._collection.update_many, {"assets.jobId": {"$eq": job_id}}, change)


def _any(either: list[Filter]) -> Filter:
    """One of these, as a filter that an "$or" can be added to."""
    if not either:
        return NOTHING
    return either[0] if len(either) == 1 and "$or" not in either[0] else {"$and": [{"$or": either}]}


def _named(collection_id: str) -> Filter:
    return {"collectionId": {"$eq": collection_id}}


def _documents(assets: Iterable[CollectionItem]) -> list[Document]:
    return [{"type": each.type, "jobId": each.job_id} for each in assets]


def _parsed(found: Document) -> Collection:
    return Collection(
        collection_id=found["collectionId"],
        namespace=found["namespace"],
        tenant=found.get("tenant"),
        user_id=found["userId"],
        name=found["name"],
        description=found["description"],
        created_by=found["createdBy"],
        created_at=found["createdAt"],
        updated_at=found["updatedAt"],
        assets=tuple(CollectionItem(each["type"], each["jobId"]) for each in found["assets"]),
    )
