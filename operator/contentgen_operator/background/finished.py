"""Comparison of finished statuses with their run documents, in batches; resources that differ are woken.

Finished resources are not reconciled, and a starting operator receives thousands of them. A restored etcd, or a user,
may have replaced the status by an older one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from contentgen_operator.kube.cache import Body
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.run_document import status_digest
from contentgen_operator.stores.run_documents import RunDocuments

_log = logging.getLogger(__name__)
_BATCH = 500  # resources in one query
_BATCH_SECONDS = 0.2
_NO_RUN = status_digest({})


class FinishedCheck:
    """Collects finished statuses from the watches."""

    def __init__(self, runs: RunDocuments, wake: Callable[[ResourceRef], Awaitable[None]]) -> None:
        self._runs = runs
        self._wake = wake
        self._waiting: dict[ResourceRef, str] = {}  # digests
        self._changed = asyncio.Event()

    def note(self, ref: ResourceRef, body: Body) -> None:
        """Queue the status of a finished resource for comparison."""
        self._waiting[ref] = status_digest(body.get("status") or {})
        self._changed.set()

    def forget(self, ref: ResourceRef) -> None:
        """Remove a changed or deleted resource."""
        self._waiting.pop(ref, None)

    async def check(self) -> None:
        """Compare one batch. A resource without a document has begun no run. Raises PyMongoError."""
        batch = dict(list(self._waiting.items())[:_BATCH])
        documents = await self._runs.digests(ref.uid for ref in batch)
        for ref, digest in batch.items():
            if self._waiting.get(ref) == digest:
                del self._waiting[ref]
            if documents.get(ref.uid, _NO_RUN) != digest:
                _log.warning("the status of %s differs from its run document", ref.name, extra=ref.about)
                await self._wake(ref)

    async def round(self) -> None:
        """Wait for finished statuses, and compare a batch of them. Raises PyMongoError."""
        await self._changed.wait()
        await asyncio.sleep(_BATCH_SECONDS)  # collects a batch
        await self.check()
        if not self._waiting:
            self._changed.clear()
