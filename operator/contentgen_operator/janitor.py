"""Deletes the files of deleted resources: at once where the stores are there, else when they are back."""

import asyncio
import logging
from datetime import timedelta

from botocore.exceptions import BotoCoreError, ClientError
from pymongo.errors import PyMongoError

from contentgen_contract.discard import Discard
from contentgen_operator.clock import utc_now
from contentgen_operator.ledger import Ledger
from contentgen_operator.records import Records
from contentgen_operator.storage import NotDeleted, Storage
from contentgen_operator.worker_jobs import WorkerJobs

_log = logging.getLogger(__name__)
_SWEEP_SECONDS = 60
_JOB_RECORDS_KEPT = timedelta(days=30)  # longer than any Job runs


class Janitor:
    """The mark on the record comes first: whoever finds it goes on where another has stopped."""

    def __init__(self, *, storage: Storage, ledger: Ledger, records: Records, jobs: WorkerJobs) -> None:
        self._storage = storage
        self._ledger = ledger
        self._records = records
        self._jobs = jobs

    async def discard(self, discard: Discard) -> None:
        """Idempotent. Raises the stores' errors; what is not done then is done by a later sweep."""
        await self._records.mark_discarded(discard)
        await self._ledger.discard(discard.job_ids)
        for prefix in discard.prefixes:
            await self._storage.delete_prefix(prefix)
        await self._records.forget(discard)
        _log.info("deleted all files of a deleted resource", extra={"jobId": discard.uid})

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self._jobs.expire(utc_now() - _JOB_RECORDS_KEPT)
                for each in await self._records.to_discard():
                    await self.discard(each)
            except (PyMongoError, BotoCoreError, ClientError, NotDeleted) as error:
                _log.warning("files of deleted resources wait: %s", str(error).split("?", maxsplit=1)[0][:200])
            await asyncio.sleep(_SWEEP_SECONDS)
