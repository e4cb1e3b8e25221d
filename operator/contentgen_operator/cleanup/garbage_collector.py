"""Garbage collector: deletes the files of deleted resources, immediately or once the stores are available.

A slice is a bounded number of objects and requests. Marks have a queue of their own, in which namespaces take turns; a
mark whose files cannot be deleted is retried with growing pauses.
"""

import logging
from dataclasses import dataclass, field
from datetime import timedelta

from botocore.exceptions import ClientError
from pydantic import ValidationError

from contentgen_contract.records import keys, ownership
from contentgen_contract.records.deletion_tombstone import DeletionTombstone
from contentgen_contract.records.ownership import Owner, owns
from contentgen_operator.clock import utc_now
from contentgen_operator.fairness.work_queue import WorkQueue
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import DeletionMark, RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import DeletedPage, Storage
from contentgen_operator.stores.worker_jobs import WorkerJobs
from contentgen_runtime.kube import Conflict
from contentgen_runtime.store_errors import STORE_ERRORS, NotDeleted, short_text

_log = logging.getLogger(__name__)
_MARKS = 500  # per sweep
_WORKERS = 4
_SLICE = 1000  # versions per slice
_NEXT_SLICE_SECONDS = 0.5
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 30.0, 1800.0  # after an error
_OF_ONE_PREFIX = (ClientError, NotDeleted)
_JOB_RECORDS_KEPT = timedelta(days=180)  # longer than any Job waits for a node and runs


@dataclass(kw_only=True)
class GarbageCollector:
    """Executes deletion marks. The mark is written first, so that any process can resume the deletion."""

    storage: Storage
    ledger: Ledger
    records: RecordStore
    jobs: WorkerJobs
    runs: RunDocuments
    notifications: NotificationOutbox
    check: Check = unchecked  # raises Conflict if this process does not lead
    _failures: dict[DeletionMark, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.queue: WorkQueue[DeletionMark] = WorkQueue(self.work, workers=_WORKERS, group=lambda mark: mark.namespace)

    async def discard(self, discard: DeletionTombstone, *, held: bool = False) -> bool:
        """Delete one slice of the files; True once all of them, and the records, are deleted. Idempotent.

        `held`: our finalizer is on the resource, so no other resource can have its name. Raises STORE_ERRORS or
        Conflict; a later sweep does the rest. The compare-and-set of the mark stops a former leader. Marked files are
        deleted for good, by any process: no later resource has the uid, and no later purchase has the id of a discarded
        one.
        """
        await self.records.mark_discarded(discard, new=held)
        if held and discard.bought_under:
            await self.ledger.take_over(discard.bought_under, discard.job_ids, discard.uid)
        bought = await self.ledger.discard(discard.uid)
        keep = await self.ledger.kept_files(discard.bought_under, discard.uid)
        if not await self._slice(discard, bought, keep):
            return False
        await self.runs.forget((discard.uid, *discard.job_ids))
        await self.notifications.discard((discard.uid, *discard.job_ids), utc_now())
        await self.records.forget(discard)
        _log.info("deleted all files of a deleted resource", extra={"jobId": discard.uid})
        return True

    async def _slice(self, discard: DeletionTombstone, bought: tuple[str, ...], keep: frozenset[str]) -> bool:
        """Delete a slice; True if nothing is left, except `keep`, of the tombstone's prefixes and of the purchases
        `bought`.

        An error of one prefix does not stop the others; it is raised at the end.
        """
        owner = ownership.jobs_owner((discard.uid, *discard.job_ids), discard.prefixes)
        for prefix in discard.prefixes:
            if not owns(owner, prefix):
                _log.warning(
                    "a deletion tombstone names %r, which belongs to another job", prefix, extra={"jobId": discard.uid}
                )
        owned = [prefix for prefix in discard.prefixes if owns(owner, prefix)]
        owned += [keys.purchase_prefix(purchase_id) for purchase_id in bought]
        owner |= ownership.union(map(ownership.purchase_owner, bought))
        left, kept = _SLICE, list[Exception]()
        for prefix in owned:
            page = await self._delete_page(owner, prefix, left, keep)
            if isinstance(page, Exception):
                kept.append(page)
                continue
            left -= page.count
            if page.more or left <= 0:
                return False
        if kept:
            raise kept[0]
        return True

    async def _delete_page(self, owner: Owner, prefix: str, most: int, keep: frozenset[str]) -> DeletedPage | Exception:
        """Deleted page, or the error of this prefix alone. Raises the errors of a store that does not respond."""
        self.check()
        try:
            return await self.storage.delete_prefix(owner, prefix, most, keep)
        except _OF_ONE_PREFIX as error:
            return error

    async def work(self, mark: DeletionMark) -> None:
        """Delete one slice of a mark and schedule the next one."""
        try:
            discard = await self.records.discard_of(mark)
            done = discard is None or await self.discard(discard)
        except Conflict as error:
            _log.info("files of a deleted resource are not deleted yet: %s", error, extra={"jobId": mark.uid})
            await self.queue.wake(mark, _FIRST_PAUSE_SECONDS)
            return
        except (*STORE_ERRORS, ValidationError) as error:  # the gateway writes marks too, and one may be malformed
            again = self._pause(mark)
            what = "files of a deleted resource are not deleted yet, retry in %.0f s: %s"
            _log.warning(what, again, short_text(error), extra={"jobId": mark.uid})
            await self.queue.wake(mark, again)
            return
        self._failures.pop(mark, None)
        if not done:
            await self.queue.wake(mark, _NEXT_SLICE_SECONDS)

    async def sweep(self) -> None:
        """Queue the marks that are not in the queue, and delete old records of Jobs. Raises PyMongoError."""
        await self.jobs.expire(utc_now() - _JOB_RECORDS_KEPT)
        for mark in await self.records.marks(_MARKS, self.queue.__contains__):
            await self.queue.wake(mark)

    def _pause(self, mark: DeletionMark) -> float:
        """Seconds until the next attempt: 30, 60, 120 … 1800."""
        failures = min(self._failures.get(mark, 0), 10)
        self._failures[mark] = failures + 1
        return min(_FIRST_PAUSE_SECONDS * 2.0**failures, _LONGEST_PAUSE_SECONDS)
