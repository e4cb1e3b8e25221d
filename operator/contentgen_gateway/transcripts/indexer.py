"""Background task that keeps the search index equal to finished transcripts.

Jobs are updated soon after their end; a periodic pass over all records repairs whatever was missed. Several gateways
repeat each other's work with the same result.
"""

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.errors import ConnectionFailure

from contentgen_contract.names import Kind
from contentgen_contract.records import keys
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.outputs import KeyOf, versions_of
from contentgen_gateway.stores.records import Record, Records
from contentgen_gateway.stores.verification import OwnedKey, owned_key, owner_of
from contentgen_gateway.transcripts.index import TranscriptIndex
from contentgen_gateway.transcripts.passages import Passage
from contentgen_gateway.transcripts.splitting import split

_MAX_BYTES = 40_000_000  # bytes of a transcript.json; ten hours are 27 MB
_UPDATE_DELAYS = (1.0, 5.0, 30.0)  # seconds after the end of a run, whose record is written a little later
_FULL_UPDATE_SECONDS = 600.0
_PAGE = 200
_FORMAT = 2  # of passages and terms; transcripts that were indexed with another one are indexed again
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexSource:
    """Source of a job's passages, and the job's fields that each passage repeats."""

    key: OwnedKey
    version: int
    about: Mapping[str, Any]

    @property
    def mark(self) -> dict[str, Any]:
        """Mark to be stored; the job is indexed again if the stored one differs."""
        return {"key": self.key, "version": self.version, "about": dict(self.about), "format": _FORMAT}


def source_of(record: Record, key_of: KeyOf) -> IndexSource | None:
    """The newest transcript of a record; None if there is none, or it is not the job's own file in our bucket."""
    newest = next(iter(versions_of(record)), None)
    address = (newest or {}).get("transcriptUrl")
    named = key_of(address) if isinstance(address, str) else None
    key = owned_key(owner_of(record, key_of), named) if named is not None else None
    if newest is None or key is None or keys.run_of(key) is None:
        return None
    version = newest.get("version") or 1
    about = {
        "namespace": record.get("namespace"),
        **({"tenant": record["tenant"]} if record.get("tenant") else {}),
        "type": record["type"],
        "userId": record.get("userId"),
        "createdAt": record.get("createdAt"),
        "version": version,
        "metadata": {"isPublic": (record.get("metadata") or {}).get("isPublic") is True},
    }
    return IndexSource(key, version, about)


class Indexer:
    """Indexes new transcripts and removes deleted ones."""

    def __init__(self, records: Records, files: BucketFiles, index: TranscriptIndex) -> None:
        self._records = records
        self._files = files
        self._index = index
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._pending: set[str] = set()

    def schedule(self, kind: Kind, job_id: str) -> None:
        """Schedule updates of a job whose run has ended or whose resource was deleted."""
        if kind is Kind.TRANSCRIPTION and job_id not in self._pending:
            self._pending.add(job_id)
            for seconds in _UPDATE_DELAYS:
                asyncio.get_running_loop().call_later(seconds, self._queue.put_nowait, job_id)

    async def run(self) -> None:
        """Index until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._update_queued())
            tasks.create_task(self._update_all_periodically())

    async def _update_queued(self) -> None:
        while True:
            job_id = await self._queue.get()
            self._pending.discard(job_id)
            try:
                await self.update(job_id)
            except Exception as error:  # noqa: BLE001 - tenants' data must not end the process
                _log_failure(job_id, error)

    async def _update_all_periodically(self) -> None:
        while True:
            try:
                await self.update_all()
            except Exception as error:  # noqa: BLE001 - the next pass may succeed
                _log.warning("pass over all transcripts failed: %s", type(error).__name__)
            await asyncio.sleep(_FULL_UPDATE_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def update(self, job_id: str) -> None:
        """Update the index of one job."""
        await self._sync(job_id, await self._records.get(job_id), await self._index.mark(job_id))

    async def update_all(self) -> None:
        """Update the index of all jobs, page by page in order of their ids."""
        after = ""
        while True:
            page = {transcript["jobId"]: transcript for transcript in await self._records.transcripts(after, _PAGE)}
            last = max(page) if len(page) == _PAGE else None
            marks = await self._index.marks(after, last)
            for job_id in sorted({*page, *marks}):
                await self._sync_or_log(job_id, page.get(job_id), marks.get(job_id))
            if last is None:
                return
            after = last

    async def _sync_or_log(self, job_id: str, record: Record | None, mark: Mapping[str, Any] | None) -> None:
        """Sync a job and log failures. Raises ConnectionFailure, which would affect all further jobs too."""
        try:
            await self._sync(job_id, record, mark)
        except ConnectionFailure:
            raise
        except Exception as error:  # noqa: BLE001 - tenants' data must not block later jobs
            _log_failure(job_id, error)

    async def _sync(self, job_id: str, record: Record | None, mark: Mapping[str, Any] | None) -> None:
        source = source_of(record, self._files.key_of) if record is not None else None
        if source is None:
            if mark is not None:
                await self._index.delete(job_id)
        elif mark is None or any(mark.get(name) != source.mark[name] for name in ("key", "version", "format")):
            passages = await self._read_passages(job_id, source.key)
            await self._index.replace(job_id, source.about, source.mark, passages)
        elif mark != source.mark:
            await self._index.amend(job_id, source.about, source.mark)

    async def _read_passages(self, job_id: str, key: OwnedKey) -> list[Passage]:
        """The passages; empty for an unreadable transcript, which a retry would not change."""
        try:
            async with self._files.parsing:
                content = await self._files.read(key, _MAX_BYTES)
                if content is None:
                    raise ValueError(f"missing, or larger than {_MAX_BYTES} bytes")
                return await split(content)
        except ValueError as error:
            _log.warning("transcript cannot be indexed: %s", error, extra={"jobId": job_id, "key": key})
            return []


def _log_failure(job_id: str, error: Exception) -> None:
    _log.warning("transcript not indexed yet: %s", type(error).__name__, extra={"jobId": job_id})
