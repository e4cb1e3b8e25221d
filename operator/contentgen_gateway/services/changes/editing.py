"""Editing of tags, description and public visibility of an asset; never starts a run."""

from dataclasses import dataclass

from contentgen_contract.names import CHANGED_BY_ANNOTATION
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Verb
from contentgen_gateway.schemas.bodies import Job
from contentgen_gateway.schemas.changes import Edit
from contentgen_gateway.services.changes.editable_job import EditableJobs, annotated
from contentgen_gateway.services.jobs import JobReader
from contentgen_gateway.stores.records import Records
from contentgen_runtime.kube import Body


@dataclass(frozen=True, slots=True)
class JobEditing:
    """Edits of metadata by callers."""

    jobs: EditableJobs
    records: Records
    reader: JobReader

    async def edit(self, caller: Caller, job_id: str, body: Edit) -> Job:
        """Body of the edited job. Raises Problem."""
        job = await self.jobs.load(caller, job_id, Verb.PATCH)
        change = body.change()

        def make_patch(body: Body) -> Body:
            return annotated(body, {CHANGED_BY_ANNOTATION: caller.name}) | {"spec": {"metadata": change}}

        await self.jobs.patch(job, make_patch)
        record = job.record | {"metadata": (job.record.get("metadata") or {}) | change}
        # The operator copies the same from the resource; the record of a job without one is written here alone.
        await self.records.update_metadata(record)
        return self.reader.body(record)
