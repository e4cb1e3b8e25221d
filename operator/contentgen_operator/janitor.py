"""Deletes the files of deleted resources: at once where the stores are there, else when they are back."""

import asyncio
import logging

from botocore.exceptions import BotoCoreError, ClientError
from pymongo.errors import PyMongoError

from contentgen_contract import ownership
from contentgen_contract.discard import Discard
from contentgen_contract.ownership import owns
from contentgen_operator.ledger import Ledger
from contentgen_operator.records import Records
from contentgen_operator.storage import NotDeleted, Storage

_log = logging.getLogger(__name__)
_SWEEP_SECONDS = 60


class Janitor:
    """The mark on the record comes first: whoever finds it goes on where another has stopped."""

    def __init__(self, *, storage: Storage, ledger: Ledger, records: Records) -> None:
        self._storage = storage
        self._ledger = ledger
        self._records = records

    async def discard(self, discard: Discard) -> None:
        """Idempotent. Raises the stores' errors; what is not done then is done by a later sweep."""
        await self._records.mark_discarded(discard)
        await self._ledger.discard(discard.job_ids)
        owner = ownership.of_jobs((discard.uid, *discard.job_ids), discard.prefixes)
        for prefix in discard.prefixes:
            if owns(owner, prefix):
                await self._storage.delete_prefix(owner, prefix)
            else:
                _log.warning(
                    "a mark of deletion names %r, which is not its job's", prefix, extra={"jobId": discard.uid}
                )
        await self._records.forget(discard)
        _log.info("deleted all files of a deleted resource", extra={"jobId": discard.uid})

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                for each in await self._records.to_discard():
                    await self.discard(each)
            except (PyMongoError, BotoCoreError, ClientError, NotDeleted) as error:
                _log.warning("files of deleted resources wait: %s", str(error).split("?", maxsplit=1)[0][:200])
            await asyncio.sleep(_SWEEP_SECONDS)
