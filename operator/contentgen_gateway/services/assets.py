"""Lists of finished assets by kind, and the search over all of them."""

import asyncio
from dataclasses import dataclass, replace

from contentgen_contract.names import Kind
from contentgen_contract.records import keys
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.schemas import assets
from contentgen_gateway.schemas.assets import LoraList, PictureList, TranscriptList
from contentgen_gateway.schemas.bodies import Paging
from contentgen_gateway.schemas.listings import LoraListing, PictureListing, TranscriptListing
from contentgen_gateway.services.jobs import JobPage, JobReader
from contentgen_gateway.stores import aggregations
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.outputs import versions_of
from contentgen_gateway.stores.queries import JobFilter, Scope
from contentgen_gateway.stores.records import Record, Records


@dataclass(frozen=True, slots=True)
class AssetReader:
    """Finished assets that a caller may see."""

    jobs: JobReader
    visibility: Visibility
    records: Records
    files: BucketFiles

    async def loras(self, caller: Caller, given: LoraListing) -> LoraList:
        """Trained LoRAs, each with its newest version. Raises BadRequest."""
        scope, _, page = await self._finished(caller, given, Kind.LORA_TRAINING)
        loras = await asyncio.to_thread(
            lambda: [assets.lora(record, self.files.resolve_address) for record in page.records]
        )
        return LoraList(total=page.total, loras=loras, next_cursor=page.next_cursor, incomplete=scope.incomplete)

    async def pictures(self, caller: Caller, given: PictureListing) -> PictureList:
        """Generated pictures; the limit counts jobs, the total counts pictures. Raises BadRequest."""
        scope, wanted, page = await self._finished(caller, given, Kind.IMAGE_GENERATION)
        total = await self._count_pictures(scope, wanted)
        return PictureList(
            total=total,
            images=await asyncio.to_thread(self._pictures, page.records),
            next_cursor=page.next_cursor,
            incomplete=scope.incomplete,
        )

    def _pictures(self, records: list[Record]) -> list[assets.Picture]:
        return [picture for record in records for picture in assets.pictures(record, self.files.resolve_address)]

    async def _count_pictures(self, scope: Scope, wanted: JobFilter) -> int:
        if scope.nothing:
            return 0
        rows = await self.records.tally(aggregations.job_totals(scope, wanted, None))
        return aggregations.finite_int(rows[0]["pictures"]) if rows else 0

    async def transcripts(self, caller: Caller, given: TranscriptListing) -> TranscriptList:
        """Transcribed recordings. Raises BadRequest."""
        scope, _, page = await self._finished(caller, given, Kind.TRANSCRIPTION)
        found = await asyncio.to_thread(
            lambda: [assets.transcript(record, self.files.resolve_address) for record in page.records]
        )
        return TranscriptList(
            total=page.total, transcripts=found, next_cursor=page.next_cursor, incomplete=scope.incomplete
        )

    async def _finished(self, caller: Caller, given: Paging, kind: Kind) -> tuple[Scope, JobFilter, JobPage]:
        wanted = replace(given.job_filter(), type=kind.record_type, made=True)
        scope = await self.visibility.scope(caller, given.namespace, given.user_id, public=given.public)
        return scope, wanted, await self.jobs.page(scope, wanted)

    async def loras_of(self, caller: Caller, record: Record) -> list[Record]:
        """Records of the LoRAs that a job's pictures were drawn with, if the caller may see them."""
        used = (keys.run_of(key) for version in versions_of(record) for key in version.get("loras") or ())
        visible = await self.visibility.jobs(caller, {run.job_id for run in used if run is not None})
        return await self.jobs.stored(sorted(visible))
