"""Brings what is said in finished transcripts into the index, and takes out what is gone.

Told of an end it looks soon; a walk over all records now and then makes good whatever was missed. Several gateways do
the same work twice, and come to the same result.
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
_UPDATE_DELAYS = (1.0, 5.0, 30.0)  # seconds after the end of a run: its record is written a little later
_FULL_UPDATE_SECONDS = 600.0
_PAGE = 200
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexSource:
    """What a job's passages are made of, and what each says about the job."""

    key: OwnedKey
    version: int
    about: Mapping[str, Any]

    @property
    def mark(self) -> dict[str, Any]:
        """To be compared with what was done before."""
        return {"key": self.key, "version": self.version, "about": dict(self.about)}


def source_of(record: Record, key_of: KeyOf) -> IndexSource | None:
    """The newest transcript of a record, where there is one in our bucket."""
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
    """Keeps the index as the records are."""

    def __init__(self, records: Records, files: BucketFiles, index: TranscriptIndex) -> None:
        self._records = records
        self._files = files
        self._index = index
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._pending: set[str] = set()

    def note(self, kind: Kind, job_id: str) -> None:
        """A run has ended, or a resource is gone."""
        if kind is Kind.TRANSCRIPTION and job_id not in self._pending:
            self._pending.add(job_id)
            for seconds in _UPDATE_DELAYS:
                asyncio.get_running_loop().call_later(seconds, self._queue.put_nowait, job_id)

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._update_queued())
            tasks.create_task(self._update_all_periodically())

    async def _update_queued(self) -> None:
        while True:
            job_id = await self._queue.get()
            self._pending.discard(job_id)
            try:
                await self.update(job_id)
            except Exception as error:  # noqa: BLE001 - tenants write records and transcripts: none ends the process
                _log_failure(job_id, error)

    async def _update_all_periodically(self) -> None:
        while True:
            try:
                await self.update_all()
            except Exception as error:  # noqa: BLE001 - the next walk may succeed
                _log.warning("not all transcripts are looked at: %s", type(error).__name__)
            await asyncio.sleep(_FULL_UPDATE_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def update(self, job_id: str) -> None:
        """Do what is to be done about one job."""
        await self._sync(job_id, await self._records.get(job_id), await self._index.mark(job_id))

    async def update_all(self) -> None:
        """Do what is to be done about all."""
        after = ""
        while True:
            page = {each["jobId"]: each for each in await self._records.transcripts(after, _PAGE)}
            last = max(page) if len(page) == _PAGE else None
            marks = await self._index.marks(after, last)
            for job_id in sorted({*page, *marks}):
                await self._sync_or_log(job_id, page.get(job_id), marks.get(job_id))
            if last is None:
                return
            after = last

    async def _sync_or_log(self, job_id: str, record: Record | None, mark: Mapping[str, Any] | None) -> None:
        """Raises ConnectionFailure alone, which would meet each further job as well."""
        try:
            await self._sync(job_id, record, mark)
        except ConnectionFailure:
            raise
        except Exception as error:  # noqa: BLE001 - tenants write records and transcripts: none hides the later jobs
            _log_failure(job_id, error)

    async def _sync(self, job_id: str, record: Record | None, mark: Mapping[str, Any] | None) -> None:
        source = source_of(record, self._files.key_of) if record is not None else None
        if source is None:
            if mark is not None:
                await self._index.forget(job_id)
        elif mark is None or (mark["key"], mark["version"]) != (source.key, source.version):
            passages = await self._read_passages(job_id, source.key)
            await self._index.replace(job_id, source.about, source.mark, passages)
        elif mark != source.mark:
            await self._index.amend(job_id, source.about, source.mark)

    async def _read_passages(self, job_id: str, key: OwnedKey) -> list[Passage]:
        """Nothing where it can't be read, which another look would not change."""
        try:
            async with self._files.parsing:
                content = await self._files.read(key, _MAX_BYTES)
                if content is None:
                    raise ValueError(f"missing, or larger than {_MAX_BYTES} bytes")
                return await split(content)
        except ValueError as error:
            _log.warning("a transcript can't be searched: %s", error, extra={"jobId": job_id, "key": key})
            return []


def _log_failure(job_id: str, error: Exception) -> None:
    _log.warning("a transcript is not indexed yet: %s", type(error).__name__, extra={"jobId": job_id})
