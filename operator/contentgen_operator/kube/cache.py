"""Cache of unfinished resources and their Jobs, filled by the watches: reads without requests.

Entries may be stale. That is safe: every write names the resourceVersion that it was decided on, and is refused if
there is a newer one. A watch that was reopened does not deliver deletions in between, so old entries are not used.
Finished resources are removed: memory grows with the work in progress only.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from contentgen_contract.names import (
    ADOPT_ANNOTATION,
    APPROVE_ANNOTATION,
    APPROVED_BY_ANNOTATION,
    CANCEL_ANNOTATION,
    COLLECT_ANNOTATION,
    GIVEN_UP_LABEL,
    QUEUE_LABEL,
    QUEUE_LABELS,
    REJECT_ANNOTATION,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Stage,
)
from contentgen_operator.state.observed import JobView, ResourceRef

Body = dict[str, Any]
_RESOURCE_SECONDS = 300.0
_JOB_SECONDS = 55.0
_MOST_JOBS = 32  # of one resource
_METADATA = (
    "name", "namespace", "uid", "generation", "resourceVersion", "creationTimestamp", "deletionTimestamp", "finalizers",
)  # fmt: skip
_ANNOTATIONS = (
    RERUN_ANNOTATION, RESUBMIT_ANNOTATION, CANCEL_ANNOTATION, ADOPT_ANNOTATION, COLLECT_ANNOTATION, APPROVE_ANNOTATION,
    REJECT_ANNOTATION, APPROVED_BY_ANNOTATION,
)  # fmt: skip
_LABELS = (GIVEN_UP_LABEL, *QUEUE_LABELS)
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
        """Unfinished resources."""
        return tuple(self._resources)

    def preparing(self) -> tuple[ResourceRef, ...]:
        """Unfinished resources whose status names a Job of the prepare stage that no queue holds."""
        return tuple(ref for ref, (_, body) in self._resources.items() if _is_preparing(body))

    def resource(self, ref: ResourceRef) -> Body | None:
        """Last known state of a resource; None if it is unknown or older than 5 minutes."""
        at, body = self._resources.get(ref, (0.0, None))
        return body if body is not None and self._clock() - at < _RESOURCE_SECONDS else None

    def note(self, ref: ResourceRef, body: Body) -> bool:
        """Store a resource; True if it has changed. The watch delivers our own writes too."""
        _, known = self._resources.get(ref, (0.0, None))
        self._resources[ref] = (self._clock(), trimmed(body))
        return known is None or known["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]

    def drop(self, ref: ResourceRef) -> None:
        """Remove a resource, so that the next reconcile reads it from the API server."""
        self._resources.pop(ref, None)

    def forget(self, ref: ResourceRef) -> None:
        """Remove a finished or deleted resource and its Jobs."""
        self.drop(ref)
        for name in self._jobs_of.pop(ref.uid, ()):
            self._jobs.pop(name, None)

    def job(self, namespace: str, name: str) -> JobView | None:
        """Last known state of a Job; None if it is unknown, or old and not finished."""
        at, job = self._jobs.get((namespace, name), (0.0, None))
        return job if job is not None and (job.finished or self._clock() - at < _JOB_SECONDS) else None

    def note_job(self, owner: ResourceRef, job: JobView) -> bool:
        """Store a Job; True if it has finished, was suspended or resumed, or its pod was deleted, since the last
        state.

        Any user may set a Job's owner reference: at most 32 Jobs of a resource are stored, others are read from the API
        server.
        """
        name = (owner.namespace, job.name)
        _, known = self._jobs.get(name, (0.0, None))
        if name in self._jobs_of[owner.uid] or len(self._jobs_of[owner.uid]) < _MOST_JOBS:
            self._jobs[name] = (self._clock(), job)
            self._jobs_of[owner.uid].add(name)
        return (
            (job.finished and not (known is not None and known.finished))
            or (job.terminating and not (known is not None and known.terminating))
            or (known is not None and job.suspended != known.suspended)
        )

    def drop_job(self, owner: ResourceRef, name: str) -> None:
        """Remove a deleted Job."""
        self._jobs.pop((owner.namespace, name), None)
        self._jobs_of[owner.uid].discard((owner.namespace, name))


def _is_preparing(body: Body) -> bool:
    run = (body.get("status") or {}).get("run") or {}
    stage = (run.get("job") or {}).get("stage")
    return stage == Stage.PREPARE and not (body["metadata"].get("labels") or {}).get(QUEUE_LABEL)


def trimmed(body: Body) -> Body:
    """Resource with only those metadata that the operator reads: a tenant may write more than a megabyte of others.

    Truncated annotation values are too long to be valid, and stay invalid.
    """
    given = body["metadata"]
    meta = {name: given[name] for name in _METADATA if name in given}
    annotations = given.get("annotations") or {}
    meta["annotations"] = {name: annotations[name][:_LONGEST_VALUE] for name in _ANNOTATIONS if name in annotations}
    if labels := {name: value for name, value in (given.get("labels") or {}).items() if name in _LABELS}:
        meta["labels"] = labels
    return {**body, "metadata": meta}
