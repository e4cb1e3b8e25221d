"""Files of a job: where they are stored, and signed URLs for them."""

from asyncio import Semaphore
from dataclasses import dataclass
from datetime import timedelta

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.visibility import KINDS, Visibility
from contentgen_gateway.problems import BadRequest, Problem
from contentgen_gateway.schemas.downloads import Download, DownloadQuery
from contentgen_gateway.stores import outputs
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.records import Record, Records
from contentgen_gateway.stores.verification import OwnedKey, owned_key, owner_of
from contentgen_runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class DownloadableFile:
    """File of a job: its name, the version it belongs to, and its S3 key."""

    name: str
    version: int
    key: OwnedKey


@dataclass(frozen=True, slots=True)
class FileReader:
    """Files of jobs that a caller may see."""

    visibility: Visibility
    records: Records
    files: BucketFiles
    clock: Clock

    @property
    def parsing(self) -> Semaphore:
        """Limit of documents parsed at the same time: a few MiB of JSON need a few hundred MiB of memory."""
        return self.files.parsing

    async def download(self, caller: Caller, job_id: str, query: DownloadQuery) -> Download:
        """Signed URL of one file; increments the job's count of downloads. Raises NotFound, BadRequest, Problem 404."""
        record = await self.visibility.job(caller, job_id)
        file = self.locate(record, query.file, query.version)
        size = await self.files.size(file.key)
        if size is None:
            raise _missing(job_id, file.name)
        now = self.clock()
        await self.records.note_download(job_id, now)
        lifetime = timedelta(seconds=query.expires)
        url = self.files.url(file.key, lifetime)
        return Download(url=url, expires_at=now + lifetime, file=file.name, version=file.version, size_bytes=size)

    def locate(self, record: Record, given: str | None, number: int | None = None) -> DownloadableFile:
        """File of a version; the main file if `given` is None, the newest version if `number` is None.

        Raises BadRequest, or Problem 404.
        """
        kind = KINDS[str(record["type"])]
        version = outputs.version_of(record, number)
        name = given or outputs.main_file(kind, version or {})
        stage = outputs.stage_of(kind, name)
        if stage is None:
            raise BadRequest("file", given, f"a file of this job, such as {outputs.FILES[kind]}")
        if version:
            folder = outputs.folder_of(kind, stage, version, self.files.key_of)
        else:
            folder = _prepared_folder(kind, stage, record)
        if folder is None or (version is None and number not in (None, 1)):
            raise _missing(str(record["jobId"]), name)
        key = owned_key(owner_of(record, self.files.key_of), folder + name)
        if key is None:
            raise _missing(str(record["jobId"]), name)
        return DownloadableFile(name, (version or {}).get("version") or 1, key)

    async def view_url(self, record: Record, name: str) -> str:
        """Signed URL that shows a file of the newest version in a browser; empty if there is no such file."""
        try:
            file = self.locate(record, name)
        except Problem:
            return ""
        return self.files.display_url(file.key) if await self.files.size(file.key) is not None else ""

    async def content(self, record: Record, name: str, limit: int) -> tuple[bytes, bool]:
        """Bytes of a file of the newest version, empty if missing or larger than `limit`; and whether it is larger."""
        try:
            file = self.locate(record, name)
        except Problem:
            return b"", False
        if (await self.files.size(file.key) or 0) > limit:
            return b"", True
        return await self.files.read(file.key, limit) or b"", False

    def signed_address(self, address: object) -> str:
        """Signed URL for an address of our bucket in a record; empty for any other address."""
        ours = isinstance(address, str) and self.files.key_of(address) is not None
        return (self.files.resolve_address(address) or "") if ours else ""


def _prepared_folder(kind: Kind, stage: Stage, record: Record) -> str | None:
    """Folder of prepared files of a run without a version yet: it is under way, or failed. None: it has none."""
    if stage is not Stage.PREPARE:
        return None
    try:
        return keys.prefix(kind, stage, str(record["userId"]), str(record["jobId"]), 1)
    except ValueError:  # an imported user or id that is not valid in a key: no file of ours has it
        return None


def _missing(job_id: str, file: str) -> Problem:
    return Problem(404, f"job {job_id!r} has no file {file!r}: it does not exist yet, was not requested, or is deleted")
