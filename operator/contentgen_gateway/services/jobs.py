"""Reading of jobs: single records, pages of a list, and the body that the API returns."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from contentgen_contract.advice.job_state import state_of_record
from contentgen_contract.names import Kind
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Authorizer, Verb
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.live.job_snapshot import with_request
from contentgen_gateway.live.jobs import LiveJobs
from contentgen_gateway.problems import NotFound
from contentgen_gateway.schemas.bodies import Job, JobList, Paging
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.outputs import with_addresses
from contentgen_gateway.stores.queries import EVERYWHERE, JobFilter, Scope, count_filter, cursor_after, page_query
from contentgen_gateway.stores.records import Record, Records
from contentgen_gateway.stores.state_filters import StateFilter

COUNTED = 1000
"""Largest total that comes from the query of the first page; a longer list needs a count of its own."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Page of records. `total` counts all pages; `next_cursor` is None on the last one."""

    records: list[Record]
    total: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class JobReader:
    """Jobs that a caller may see."""

    visibility: Visibility
    authorizer: Authorizer
    records: Records
    files: BucketFiles
    live: LiveJobs

    async def record(self, caller: Caller, job_id: str) -> Record:
        """Record of one job. Raises NotFound."""
        return self._now(await self.visibility.job(caller, job_id))

    async def training(self, caller: Caller, job_id: str) -> Record:
        """Record of a LoRA training. Raises NotFound, with the same text for a job of another kind."""
        record = await self.record(caller, job_id)
        if record.get("type") != Kind.LORA_TRAINING.record_type:
            raise NotFound("job", job_id)
        return record

    async def stored(self, job_ids: Iterable[str]) -> list[Record]:
        """Stored records of these jobs, without a check of rights: the ids must come from a list the caller may see."""
        found = [await self.records.get(identifier) for identifier in job_ids]
        return [snapshot for snapshot in found if snapshot is not None]

    async def list_jobs(self, caller: Caller, given: Paging, wanted: JobFilter | None = None) -> JobList:
        """Page of a list. `wanted` is the query's own filter if None. Raises BadRequest."""
        wanted = given.job_filter() if wanted is None else wanted
        scope = await self.scope(caller, given.namespace, given.user_id, public=given.public)
        page = await self.page(scope, await self.for_viewer(caller, scope, wanted))
        return JobList(
            jobs=await self._bodies(page.records),
            total=page.total,
            next_cursor=page.next_cursor,
            incomplete=scope.incomplete,
        )

    async def scope(self, caller: Caller, namespace: str | None, user_id: str | None, *, public: bool = False) -> Scope:
        """Records that the caller may list; None for any namespace or user. `public` adds public records of others."""
        return await self.visibility.scope(caller, namespace, user_id, public=public)

    async def for_viewer(self, caller: Caller, scope: Scope, wanted: JobFilter) -> JobFilter:
        """The filter, limited to runs that the caller may approve if it is that of jobs that need them."""
        if wanted.state is not StateFilter.NEEDS_ME:
            return wanted
        may = await self.authorizer.which_of(caller, Verb.APPROVE, scope.namespaces)
        return replace(wanted, approvable=may)

    async def page(self, scope: Scope, wanted: JobFilter) -> JobPage:
        """Page of records within a scope."""
        if scope.nothing:
            return JobPage([], 0, None)
        if wanted.state is not None:
            wanted = replace(wanted, deleting=self._deleting(scope))
        query = page_query(scope, wanted)
        if wanted.after is None:
            found, total = await self.records.first_page(query, COUNTED + 1)
            more = total > query.limit
        else:
            found, total = await self.records.find(query), COUNTED + 1
            more = len(found) > query.limit
        if total > COUNTED:
            total = await self.records.count(count_filter(scope, wanted))
        listed = [self._now(record) for record in found[: query.limit]]
        return JobPage(listed, total, cursor_after(listed[-1], wanted) if more and listed else None)

    def _deleting(self, scope: Scope) -> frozenset[str]:
        found = self.live.deleting()
        if scope.public or EVERYWHERE in scope.namespaces:
            return found
        return self.live.deleting(scope.namespaces) | found.intersection(scope.jobs)

    def body(self, record: Record) -> Job:
        """Body of a job, with signed URLs of its outputs."""
        return Job.model_validate(with_addresses(record, self.files.resolve_address) | state_fields(record))

    def _now(self, record: Record) -> Record:
        """The record, with a request and a deletion since it was written."""
        job_id = str(record["jobId"])
        now = with_request(record, self.live.get(job_id))
        return now | {"deleting": True} if self.live.is_deleting(str(record.get("namespace")), job_id) else now

    async def _bodies(self, records: Sequence[Record]) -> list[Job]:
        # A page may have hundreds of URLs to sign, which would block the event loop.
        return await asyncio.to_thread(lambda: [self.body(record) for record in records])


def state_fields(record: Record) -> dict[str, object]:
    """Fields of a body that state the job's state in words."""
    now = state_of_record(record)
    return {"state": now.state, "badge": now.badge, "sentence": now.sentence, "needsPerson": now.needs_person}
