"""The records of jobs, as the gateway reads them. pymongo is synchronous: every call runs in a thread."""

import asyncio
from collections.abc import Sequence
from typing import Any

from pymongo.collection import Collection

from contentgen_gateway.queries import NOT_DISCARDED, Query

Record = dict[str, Any]
_HIDDEN = {"_id": False, "terms": False}


class Records:
    """The collection `jobs`."""

    def __init__(self, collection: Collection[Record]) -> None:
        self._collection = collection

    async def find(self, query: Query) -> list[Record]:
        """The records of a page, and one more where another page follows."""
        return await asyncio.to_thread(self._find, query)

    def _find(self, query: Query) -> list[Record]:
        found = self._collection.find(query.filter, _HIDDEN).sort(list(query.sort)).limit(query.limit + 1)
        return list(found)

    async def count(self, matching: dict[str, Any]) -> int:
        """How many there are."""
        return await asyncio.to_thread(self._collection.count_documents, matching)

    async def get(self, job_id: str) -> Record | None:
        """One record."""
        wanted = {"jobId": {"$eq": job_id}} | NOT_DISCARDED
        return await asyncio.to_thread(self._collection.find_one, wanted, _HIDDEN)

    async def namespaces(self, user_id: str | None) -> Sequence[str]:
        """The namespaces that have records, of one user's or of all."""
        matching = {"userId": {"$eq": user_id}} if user_id else {}
        found = await asyncio.to_thread(self._collection.distinct, "namespace", matching)
        return sorted(each for each in found if isinstance(each, str))

    async def using(self, job_id: str) -> list[Record]:
        """The records of what was made with a job's outputs."""
        wanted = {"uses": {"$eq": job_id}} | NOT_DISCARDED
        return await asyncio.to_thread(lambda: list(self._collection.find(wanted, _HIDDEN).limit(100)))
