"""What the stores need before the first job: the bucket, and the indexes. Waits for stores that are away."""

import asyncio
import logging

from botocore.exceptions import BotoCoreError, ClientError
from pymongo.errors import PyMongoError

from contentgen_operator import metrics
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.s3 import Storage
from contentgen_operator.stores.worker_jobs import WorkerJobs

_log = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 60.0


async def prepare_stores(storage: Storage, ledger: Ledger, records: RecordStore, jobs: WorkerJobs) -> None:
    """Idempotent; returns when all of it is there."""
    for prepare in (storage.ensure_bucket, ledger.create_indexes, records.create_indexes, jobs.create_indexes):
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                await asyncio.to_thread(prepare)
                break
            except (PyMongoError, BotoCoreError, ClientError) as error:
                metrics.store_errors.labels("MongoDB" if isinstance(error, PyMongoError) else "S3").inc()
                _log.warning("%s: %s; again in %.0f s", prepare.__qualname__, error, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
