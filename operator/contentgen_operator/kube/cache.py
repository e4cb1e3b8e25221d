"""What the watches last delivered of resources that are not finished, and of their Jobs: reads that cost no request.

It may be behind. That is safe: every write names the version that it was decided on, and is refused when there is a
newer one. A watch that had to begin anew does not tell what vanished meanwhile, so what is old is not used. A finished
resource is not kept: memory grows with the work under way and not with its history.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from contentgen_contract.names import (
    ADOPT_ANNOTATION,
    CANCEL_ANNOTATION,
    COLLECT_ANNOTATION,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
)
from contentgen_operator.state.observed import JobView, ResourceRef

Body = dict[str, Any]
_RESOURCE_SECONDS = 300.0
_JOB_SECONDS = 55.0
_MOST_JOBS = 32  # of one resource
_METADATA = (
    "name", "namespace", "uid", "generation", "resourceVersion", "creationTimestamp", "deletionTimestamp", "finalizers",
)  # fmt: skip
_ANNOTATIONS = (RERUN_ANNOTATION, RESUBMIT_ANNOTATION, CANCEL_ANNOTATION, ADOPT_ANNOTATION, COLLECT_ANNOTATION)
_LONGEST_VALUE = 1024  # characters of an annotation


class Cache:
    """Resources by reference, Jobs by namespace and name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._resources: dict[ResourceRef, tuple[float, Body]] = {}
        self._jobs: dict[tuple[str, str], tuple[float, JobView]] = {}
        self._jobs_of: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)

    def __contains__(self, ref: ResourceRef) -> bool:
        return ref in self._resources

    def refs(self) -> tuple[ResourceRef, ...]:
        """The unfinished resources."""
        return tuple(self._resources)

    def resource(self, ref: ResourceRef) -> Body | None:
        """The newest that is known; None where that is old."""
        at, body = self._resources.get(ref, (0.0, None))
        return body if body is not None and self._clock() - at < _RESOURCE_SECONDS else None

    def note(self, ref: ResourceRef, body: Body) -> bool:
        """Keep a resource; whether that is news: the watch delivers our own writes as well."""
        _, known = self._resources.get(ref, (0.0, None))
        self._resources[ref] = (self._clock(), trimmed(body))
        return known is None or known["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]

    def drop(self, ref: ResourceRef) -> None:
        """Read it anew the next time, should there be one."""
        self._resources.pop(ref, None)

    def forget(self, ref: ResourceRef) -> None:
        """The resource is finished or gone, and so is the interest in its Jobs."""
        self.drop(ref)
        for name in self._jobs_of.pop(ref.uid, ()):
            self._jobs.pop(name, None)

    def job(self, namespace: str, name: str) -> JobView | None:
        """A Job as it was last seen; None where that is long ago and it has not finished."""
        at, job = self._jobs.get((namespace, name), (0.0, None))
        return job if job is not None and (job.finished or self._clock() - at < _JOB_SECONDS) else None

    def note_job(self, owner: ResourceRef, job: JobView) -> bool:
        """Keep a Job; whether it has finished, or its pod was deleted, since it was last seen.

        Anybody may claim that a Job is of a resource: beyond 32 none is kept, and those are read from the API server.
        """
        name = (owner.namespace, job.name)
        _, known = self._jobs.get(name, (0.0, None))
        if name in self._jobs_of[owner.uid] or len(self._jobs_of[owner.uid]) < _MOST_JOBS:
            self._jobs[name] = (self._clock(), job)
            self._jobs_of[owner.uid].add(name)
        return (job.finished and not (known is not None and known.finished)) or (
            job.terminating and not (known is not None and known.terminating)
        )

    def drop_job(self, owner: ResourceRef, name: str) -> None:
        """The Job was deleted."""
        self._jobs.pop((owner.namespace, name), None)
        self._jobs_of[owner.uid].discard((owner.namespace, name))


def trimmed(body: Body) -> Body:
    """The object with those metadata only that the operator reads: a tenant can write more than a megabyte of others.

    A value that is cut here is too long to be valid, and stays so.
    """
    given = body["metadata"]
    meta = {name: given[name] for name in _METADATA if name in given}
    annotations = given.get("annotations") or {}
    meta["annotations"] = {name: annotations[name][:_LONGEST_VALUE] for name in _ANNOTATIONS if name in annotations}
    return {**body, "metadata": meta}
