"""Loading of a job for a change: visibility, then permission, then its resource, which may be gone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from contentgen_contract.names import Kind
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Authorizer, Verb
from contentgen_gateway.auth.visibility import KINDS, Visibility
from contentgen_gateway.live.resources import JobResources
from contentgen_gateway.problems import Problem
from contentgen_gateway.stores.records import Record
from contentgen_runtime.kube import Body

_TRIES = 5  # the operator writes to the resource at the same time


@dataclass(frozen=True)
class EditableJob:
    """Record of a job that the caller may change, and the kind of its resource."""

    record: Record
    kind: Kind

    @property
    def job_id(self) -> str:
        """The uid that the resource has, or had."""
        return str(self.record["jobId"])

    @property
    def place(self) -> tuple[Kind, str, str]:
        """Kind, namespace and name of the resource."""
        return self.kind, str(self.record.get("namespace")), str(self.record.get("name"))


@dataclass(frozen=True, slots=True)
class EditableJobs:
    """Jobs that a caller may change, and their resources."""

    visibility: Visibility
    authorizer: Authorizer
    resources: JobResources

    async def load(self, caller: Caller, job_id: str, *verbs: Verb) -> EditableJob:
        """A job for which the caller has all verbs: those that the change would need in Kubernetes.

        Raises NotFound if the caller may not see the job, Problem 403 if they may only see it.
        """
        record = await self.visibility.job(caller, job_id)
        found = EditableJob(record, KINDS[str(record["type"])])
        namespace = await self.visibility.authority(record)
        for verb in verbs:
            if not await self.authorizer.may(caller, verb, found.kind, namespace):
                needed = f" (needed: {' and '.join(verbs)})" if len(verbs) > 1 else ""
                raise Problem(403, f"you may see the job {job_id!r}, but not {verb.value} it{needed}")
        return found

    async def namesake(self, job: EditableJob) -> Body | None:
        """Resource with the name of the job's: the job's own, or a later one; None if there is none."""
        return await self.resources.get(*job.place)

    async def resource(self, job: EditableJob) -> Body | None:
        """Resource of the job; None if it is gone. Raises Problem 409 if it belongs to another operator class."""
        body = await self.namesake(job)
        if body is None or body["metadata"]["uid"] != job.job_id:
            return None
        self.resources.require_class(body)
        return body

    async def patch(self, job: EditableJob, make_patch: Callable[[Body], Body | None]) -> Body | None:
        """Resource after the patch that `make_patch` returns for its current version; None if it is gone.

        No patch is sent if `make_patch` returns None. Conflicts are retried. Raises Problem.
        """
        for left in reversed(range(_TRIES)):
            body = await self.resource(job)
            patch = make_patch(body) if body is not None else None
            if body is None or patch is None:
                return body
            try:
                return await self.resources.patch(*job.place, patch)
            except Problem as problem:
                if problem.status not in (404, 409) or not left:
                    raise
        return None


def annotated(body: Body, annotations: Mapping[str, str | None], **more: object) -> Body:
    """Patch that sets annotations (None: removes) of this version of a resource; `more` goes into its metadata."""
    meta = body["metadata"]
    here = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "annotations": dict(annotations)}
    return {"metadata": here | more}
