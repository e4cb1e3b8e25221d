"""Stored collections: named lists of jobs. Each item is visible only to callers who may see its job."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pymongo.collection import Collection as MongoCollection

from contentgen_contract.records.indexes import Keys
from contentgen_contract.records.tenancy import Tenant
from contentgen_gateway.stores.queries import MOST, NOTHING, Cursor, Filter, in_namespaces
from contentgen_runtime.mongo import Document, create_indexes
from contentgen_runtime.stores import in_thread

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
    tenant: str | None = None  # the namespace's scope; None: unscoped
    assets: tuple[CollectionItem, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectionFilter:
    """Filter of a list of collections; `namespaces` None means all namespaces."""

    namespaces: tuple[str, ...] | None
    user_id: str | None = None
    limit: int = 50
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    after: Cursor | None = None

    def filter(self) -> Filter:
        """MongoDB filter for all pages."""
        found: Filter = {}
        if self.namespaces is not None:
            either = in_namespaces(self.namespaces, self.tenants)
            found |= _any_of(either)
        if self.user_id is not None:
            found["userId"] = {"$eq": self.user_id}
        return found

    def page(self) -> Filter:
        """MongoDB filter for the page after `after`."""
        if self.after is None:
            return self.filter()
        at, last = self.after
        beyond = [{"createdAt": {"$lt": at}}, {"createdAt": {"$eq": at}, "collectionId": {"$lt": last}}]
        return self.filter() | {"$or": beyond}

    @property
    def index(self) -> str:
        """Name of the index that serves the filter."""
        parts = ("namespace_" * (self.namespaces is not None), "user_" * (self.user_id is not None))
        return f"{''.join(parts)}created"


class Collections:
    """The MongoDB collection `collections`. pymongo is synchronous, so each call runs in a thread."""

    def __init__(self, collection: MongoCollection[Document]) -> None:
        self._collection = collection

    def create_indexes(self) -> None:
        """Idempotent."""
        create_indexes(self._collection, INDEXES, unique="collection_id")

    @in_thread
    def get(self, collection_id: str) -> Collection | None:
        """The collection with this id, or None."""
        found = self._collection.find_one(_by_id(collection_id))
        return _parse(found) if found else None

    @in_thread
    def find(self, wanted: CollectionFilter) -> list[Collection]:
        """The collections of a page, plus one if there is a next page."""
        found = self._collection.find(wanted.page()).sort(list(_NEWEST)).limit(min(wanted.limit, MOST) + 1)
        return [_parse(document) for document in found]

    @in_thread
    def namespaces(self, user_id: str | None) -> list[str]:
        """Namespaces that have collections; `user_id` limits them to one owner."""
        matching = {"userId": {"$eq": user_id}} if user_id else {}
        return sorted(self._collection.distinct("namespace", matching))

    @in_thread
    def count(self, wanted: CollectionFilter) -> int:
        """Number of collections on all pages."""
        return self._collection.count_documents(wanted.filter())

    @in_thread
    def add(self, collection: Collection) -> None:
        """Insert a new collection."""
        document = {
            "collectionId": collection.collection_id,
            "namespace": collection.namespace,
            "tenant": collection.tenant,
            "userId": collection.user_id,
            "name": collection.name,
            "description": collection.description,
            "createdBy": collection.created_by,
            "createdAt": collection.created_at,
            "updatedAt": collection.updated_at,
            "assets": _documents(collection.assets),
        }
        self._collection.insert_one(document)

    @in_thread
    def change(self, collection_id: str, fields: Document, now: datetime) -> None:
        """Set fields by their stored names; `assets` is a tuple of `CollectionItem`."""
        values = {key: _documents(value) if key == "assets" else value for key, value in fields.items()}
        change = {"$set": values | {"updatedAt": now}}
        self._collection.update_one(_by_id(collection_id), change)

    @in_thread
    def add_assets(self, collection_id: str, assets: Sequence[CollectionItem], now: datetime) -> bool:
        """Add items, without duplicates. False, and none is added, if there could be more than `MOST_ASSETS` then."""
        with_room = _by_id(collection_id) | {f"assets.{MOST_ASSETS - len(assets)}": {"$exists": False}}
        change = {"$addToSet": {"assets": {"$each": _documents(assets)}}, "$set": {"updatedAt": now}}
        done = self._collection.update_one(with_room, change)
        return done.matched_count == 1

    @in_thread
    def remove_asset(self, collection_id: str, job_id: str, now: datetime) -> None:
        """Remove a job from the collection. Idempotent."""
        change = {"$pull": {"assets": {"jobId": job_id}}, "$set": {"updatedAt": now}}
        self._collection.update_one(_by_id(collection_id), change)

    @in_thread
    def delete(self, collection_id: str) -> None:
        """Delete the collection; its jobs remain."""
        self._collection.delete_one(_by_id(collection_id))

    @in_thread
    def remove_job(self, job_id: str) -> None:
        """Remove a deleted job from all collections."""
        change = {"$pull": {"assets": {"jobId": job_id}}}
        self._collection.update_many({"assets.jobId": {"$eq": job_id}}, change)


def _any_of(either: list[Filter]) -> Filter:
    """Match any of the filters; the result has no top-level "$or", so that a caller can add one."""
    if not either:
        return NOTHING
    return either[0] if len(either) == 1 and "$or" not in either[0] else {"$and": [{"$or": either}]}


def _by_id(collection_id: str) -> Filter:
    return {"collectionId": {"$eq": collection_id}}


def _documents(assets: Iterable[CollectionItem]) -> list[Document]:
    return [{"type": asset.type, "jobId": asset.job_id} for asset in assets]


def _parse(found: Document) -> Collection:
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
        assets=tuple(CollectionItem(asset["type"], asset["jobId"]) for asset in found["assets"]),
    )
