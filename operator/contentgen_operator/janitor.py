"""Deletes the files of deleted resources: at once where the stores are there, else when they are back."""

import asyncio
import logging
from datetime import timedelta

from botocore.exceptions import BotoCoreError, ClientError
from pymongo.errors import PyMongoError

from contentgen_contract import keys, ownership
from contentgen_contract.discard import Discard
from contentgen_contract.ownership import Owner, owns
from contentgen_operator.clock import utc_now
from contentgen_operator.ledger import Ledger
from contentgen_operator.records import Records
from contentgen_operator.storage import BucketMissing, NotDeleted, Storage
from contentgen_operator.worker_jobs import WorkerJobs

_log = logging.getLogger(__name__)
_SWEEP_SECONDS = 60
_STORE_ERRORS = (PyMongoError, BotoCoreError, ClientError, BucketMissing, NotDeleted)
_JOB_RECORDS_KEPT = timedelta(days=30)  # longer than any Job runs


class Janitor:
    """The mark on the record comes first: whoever finds it goes on where another has stopped."""

    def __init__(self, *, storage: Storage, ledger: Ledger, records: Records, jobs: WorkerJobs) -> None:
        self._storage = storage
        self._ledger = ledger
        self._records = records
        self._jobs = jobs

    async def discard(self, discard: Discard, *, held: bool = False) -> None:
        """Idempotent. Raises the stores' errors; what is not done then is done by a later sweep.

        `held`: our finalizer is on the resource, so that no other one can have its name.
        """
        await self._records.mark_discarded(discard)
        if held and discard.bought_under:
            await self._ledger.take_over(discard.bought_under, discard.job_ids, discard.uid)
        bought = await self._ledger.discard(discard.uid)
        keep = await self._ledger.kept_files(discard.bought_under, discard.uid)
        owner = ownership.of_jobs((discard.uid, *discard.job_ids), discard.prefixes)
        for prefix in discard.prefixes:
            if not owns(owner, prefix):
                _log.warning("a discard names %r, which is not its job's", prefix, extra={"jobId": discard.uid})
        owned = [prefix for prefix in discard.prefixes if owns(owner, prefix)]
        owner |= ownership.union(map(ownership.of_purchase, bought))
        owned += [keys.purchase_prefix(each) for each in bought]
        kept = [error for prefix in owned if (error := await self._deleted(owner, prefix, keep)) is not None]
        if kept:
            raise kept[0]
        await self._records.forget(discard)
        _log.info("deleted all files of a deleted resource", extra={"jobId": discard.uid})

    async def _deleted(self, owner: Owner, prefix: str, keep: frozenset[str]) -> Exception | None:
        """The error of a prefix that could not be deleted: the other prefixes go all the same."""
        try:
            await self._storage.delete_prefix(owner, prefix, keep)
        except _STORE_ERRORS as error:
            return error
        return None

    async def sweep(self) -> None:
        """One try for each mark: a resource whose files cannot be deleted holds up no other."""
        for each in await self._records.to_discard():
            try:
                await self.discard(each)
            except _STORE_ERRORS as error:
                _log.warning("files of a deleted resource wait: %s", _short(error), extra={"jobId": each.uid})

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self._jobs.expire(utc_now() - _JOB_RECORDS_KEPT)
                await self.sweep()
            except PyMongoError as error:
                _log.warning("files of deleted resources wait: %s", _short(error))
            await asyncio.sleep(_SWEEP_SECONDS)


def _short(error: Exception) -> str:
    return str(error).split("?", maxsplit=1)[0][:200]
