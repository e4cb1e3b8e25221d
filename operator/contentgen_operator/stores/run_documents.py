"""Collection `runs`: one run document for each resource, changed by compare-and-set of its `revision`.

`_id` is the resource's uid. A document outlives its resource, like the job's record, and is deleted with it: the files
of a deleted resource lie under its uid, and a restored etcd may bring the resource back.

`run` and `versions` are JSON texts: their keys and numbers come from specs and workers, and BSON accepts fewer of both.
"""

import asyncio
from collections.abc import Iterable

from pydantic import TypeAdapter
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from contentgen_contract.resources.status import VersionStatus
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.state.run_document import FrozenRun, RunDocument, document_digest
from contentgen_runtime.caches import BoundedDict
from contentgen_runtime.kube import Conflict
from contentgen_runtime.mongo import Document
from contentgen_runtime.stores import in_thread

_REMEMBERED = 1024  # runs kept in memory for the worker API
_VERSIONS = TypeAdapter(tuple[VersionStatus, ...])
_PLAIN = {"uid", "run", "versions"}  # fields that are not stored as `model_dump` returns them


class RunDocuments:
    """Reads and writes the collection. pymongo is synchronous, so each call runs in a thread. Raises PyMongoError."""

    def __init__(self, collection: Collection[Document], check: Check = unchecked) -> None:
        """`check` raises Conflict if this process does not lead."""
        self._collection = collection
        self._check = check
        self._runs: BoundedDict[str, FrozenRun] = BoundedDict(_REMEMBERED)

    async def get(self, uid: str) -> RunDocument | None:
        """Document of a resource; None if there is none."""
        found = await asyncio.to_thread(self._collection.find_one, {"_id": uid})
        if found is None:
            return None
        document = _read(found)
        self._remember(document)
        return document

    async def put(self, document: RunDocument) -> RunDocument | None:
        """Compare-and-set; returns the stored document, or None if it has changed since it was read."""
        stored = document.model_copy(update={"revision": document.revision + 1})
        done = await asyncio.to_thread(self._insert if document.revision == 0 else self._replace, stored)
        if not done:
            self._runs.pop(document.uid, None)
            return None
        self._remember(stored)
        return stored

    def _insert(self, document: RunDocument) -> bool:
        try:
            self._collection.insert_one(_written(document))
        except DuplicateKeyError:
            return False
        try:
            self._check()  # an insertion has nothing to compare with
        except Conflict:
            self._collection.delete_one({"_id": document.uid, "revision": document.revision})
            raise
        return True

    def _replace(self, document: RunDocument) -> bool:
        before = {"_id": document.uid, "revision": document.revision - 1}
        return self._collection.replace_one(before, _written(document)).matched_count == 1

    def remembered(self, uid: str) -> FrozenRun | None:
        """Current run of a resource, as last read or written by this process; None if it is not in memory."""
        return self._runs.get(uid)

    @in_thread
    def digests(self, uids: Iterable[str]) -> dict[str, str]:
        """Digests of the documents of these resources (`document_digest`), by one query."""
        found = self._collection.find({"_id": {"$in": list(uids)}}, {"digest": True})
        return {str(document["_id"]): str(document.get("digest")) for document in found}

    @in_thread
    def numbers(self, uids: Iterable[str]) -> dict[str, int]:
        """Highest run numbers of these resources, by one query."""
        found = self._collection.find({"_id": {"$in": sorted(set(uids))}}, {"number": True})
        return {str(document["_id"]): int(document.get("number") or 0) for document in found}

    async def forget(self, uids: Iterable[str]) -> None:
        """Delete the documents of resources whose records and files are deleted."""
        gone = sorted(set(uids))
        for uid in gone:
            self._runs.pop(uid, None)
        await asyncio.to_thread(self._forget, gone)

    def _forget(self, uids: list[str]) -> None:
        found = list(self._collection.find({"_id": {"$in": uids}}, {"revision": True}))
        self._check()
        for document in found:
            self._collection.delete_one(document)

    def _remember(self, document: RunDocument) -> None:
        self._runs.pop(document.uid, None)
        if document.run is not None:
            self._runs[document.uid] = document.run


def _written(document: RunDocument) -> Document:
    plain = document.model_dump(mode="json", by_alias=True, exclude=_PLAIN)
    run = document.run
    return {
        "_id": document.uid,
        **plain,
        "digest": document_digest(document),
        "run": run.model_dump_json(by_alias=True) if run else None,
        "versions": _VERSIONS.dump_json(document.versions, by_alias=True).decode(),
    }


def _read(found: Document) -> RunDocument:
    run = FrozenRun.model_validate_json(found["run"]) if found.get("run") else None
    versions = _VERSIONS.validate_json(found.get("versions") or "[]")
    return RunDocument.model_validate(found | {"uid": found["_id"], "run": run, "versions": versions})
