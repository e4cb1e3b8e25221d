"""A job that a caller wants to change: seen first, then the right asked for, then its resource, if it still has one."""

from collections.abc import Callable
from dataclasses import dataclass

from contentgen_contract.names import Kind
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Verb
from contentgen_gateway.auth.visibility import KINDS
from contentgen_gateway.problems import Problem
from contentgen_gateway.services.dependencies import Dependencies
from contentgen_gateway.stores.records import Record
from contentgen_runtime.kube import Body

_TRIES = 5  # others write to a resource at the same time: the operator above all


@dataclass(frozen=True)
class EditableJob:
    """A job's record, and where its resource is."""

    record: Record
    kind: Kind

    @property
    def job_id(self) -> str:
        """Its id."""
        return str(self.record["jobId"])

    @property
    def place(self) -> tuple[Kind, str, str]:
        """Kind, namespace, name."""
        return self.kind, str(self.record.get("namespace")), str(self.record.get("name"))


async def held(caller: Caller, parts: Dependencies, job_id: str, verb: Verb) -> EditableJob:
    """Raises NotFound where the caller may not see it, Problem 403 where they may only see it."""
    record = await parts.sight.job(caller, job_id)
    found = EditableJob(record, KINDS[str(record["type"])])
    if not await parts.access.may(caller, verb, found.kind, await parts.sight.authority(record)):
        raise Problem(403, f"you may see the job {job_id!r}, but not {verb.value} it")
    return found


async def resource_of(parts: Dependencies, job: EditableJob) -> Body | None:
    """The resource of the job; None where it is gone, also where another has its name by now."""
    body = await namesake(parts, job)
    return body if body is not None and body["metadata"]["uid"] == job.job_id else None


async def served(parts: Dependencies, job: EditableJob) -> Body | None:
    """The same. Raises Problem 409 for one of another operator class."""
    body = await resource_of(parts, job)
    if body is not None:
        parts.resources.require_class(body)
    return body


async def namesake(parts: Dependencies, job: EditableJob) -> Body | None:
    """What has the name of the job's resource: it, or a later one."""
    return await parts.resources.get(*job.place)


async def changed(parts: Dependencies, job: EditableJob, change: Callable[[Body], Body | None]) -> Body | None:
    """The resource after `change` has made a patch of it, with its version, or none; None where it is gone.

    Raises Problem.
    """
    for left in reversed(range(_TRIES)):
        body = await served(parts, job)
        patch = change(body) if body is not None else None
        if body is None or patch is None:
            return body
        try:
            return await parts.resources.patch(*job.place, patch)
        except Problem as problem:
            if problem.status not in (404, 409) or not left:
                raise
    return None
