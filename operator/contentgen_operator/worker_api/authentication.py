"""Authentication of workers: pod-bound token → uid of the pod's controller → recorded Job.

Users who may create pods or Jobs choose their labels, names and owner references, so none of these is trusted: the
controller's uid is looked up among the Jobs that the operator recorded, and everything else comes from that record.
"""

import hashlib
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from contentgen_contract.names import TOKEN_AUDIENCE
from contentgen_contract.resources.owner_references import controllers
from contentgen_operator.clock import utc_now
from contentgen_operator.kube import pods
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.selection import DEFAULT, Selection
from contentgen_operator.state.assignment import Assignment
from contentgen_operator.state.observed import JobView, Resource
from contentgen_operator.stores.worker_jobs import RecordedJob, WorkerJobs
from contentgen_runtime.caches import TtlCache

_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_REMEMBERED_SECONDS = 300.0
_REMEMBERED = 1024


class Refusal(Exception):
    """A refused caller; `who` is its identity as far as known, for the log."""

    def __init__(self, why: str, who: str = "unknown token") -> None:
        super().__init__(why, who)  # `args` suffice to create a copy
        self.who = who

    def __str__(self) -> str:
        return str(self.args[0])


class Unauthenticated(Refusal):
    """The token is not a valid token of a pod."""


class NotAWorker(Refusal):
    """The pod is not a worker of a current Job."""


class NotYetRecorded(Refusal):
    """The Job is recorded, but the status does not name it yet."""


class WorkerAuthenticator:
    """Authenticates tokens. The Job of a token is cached for minutes; whether that Job runs and is its resource's
    newest is checked on each call.
    """

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        jobs: WorkerJobs,
        selection: Selection = DEFAULT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._selection = selection
        self._cache = cache
        self._jobs = jobs
        self._known = TtlCache[str, tuple[str, RecordedJob, datetime]](_REMEMBERED_SECONDS, _REMEMBERED, clock)

    async def assignment(self, token: str) -> Assignment:
        """Assignment of the bearer of a token. Raises Unauthenticated, NotAWorker or NotYetRecorded."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        known = self._known.get(digest)
        if known is None:
            known = await self._authenticated(token)
            self._known.put(digest, known)
        return await self._current(*known)

    async def _authenticated(self, token: str) -> tuple[str, RecordedJob, datetime]:
        """Pod, as text for the log, the recorded Job that controls it, and the pod's start on its node."""
        namespace, name, uid = _bound_pod(await self._kube.review_token(token, TOKEN_AUDIENCE))
        who = f"pod {namespace}/{name} (uid {uid})"
        pod = await self._kube.get_pod(namespace, name)
        if pod is None or pod["metadata"]["uid"] != uid:
            raise Unauthenticated("the pod is gone", who)
        job = await self._jobs.by_uid(_controlling_job(pod, who))
        if job is None or job.owner.namespace != namespace:
            raise NotAWorker("the pod's controller is no Job that the operator recorded", who)
        started, now = pods.started_at(pod) or utc_now(), utc_now()
        return who, job, max(job.created_at, min(started, now))

    async def _current(self, who: str, job: RecordedJob, started: datetime) -> Assignment:
        newest = await self._jobs.newest(job.owner.uid, job.uid)
        if newest is None or newest.uid != job.uid:
            raise NotAWorker(f"Job {job.name} is not the newest of its resource", who)
        await self._require_running(who, job)
        resource = await self._resource(who, job)
        run = resource.status.run
        if run is None or run.number < job.run:
            raise NotYetRecorded("the status does not have this run yet", who)
        if run.number > job.run or (resource.status.phase is not None and resource.status.phase.terminal):
            raise NotAWorker(f"run {job.run} is over", who)
        if run.job is None or run.job.uid != job.uid:
            raise NotYetRecorded("the status does not name this Job yet", who)
        return Assignment(resource=resource, run=run, job=job.ref.model_copy(update={"started_at": started}))

    async def _require_running(self, who: str, job: RecordedJob) -> None:
        """Raises NotAWorker unless the Job runs: a token outlives its container, and may have been stolen."""
        ref = job.owner
        view = self._cache.job(ref.namespace, job.name)
        if view is None or view.uid != job.uid:
            body = await self._kube.get_job(ref.namespace, job.name)
            if body is None or body["metadata"]["uid"] != job.uid:
                raise NotAWorker(f"Job {job.name} was deleted", who)
            view = JobView.parse(body)
            if ref in self._cache:
                self._cache.note_job(ref, view)
        if view.finished:
            raise NotAWorker(f"Job {job.name} has ended", who)

    async def _resource(self, who: str, job: RecordedJob) -> Resource:
        ref = job.owner
        body = self._cache.resource(ref) or await self._kube.get_resource(ref.kind, ref.namespace, ref.name)
        if body is None or body["metadata"]["uid"] != ref.uid:
            raise NotAWorker("the Job's resource is gone", who)
        if not self._selection.serves(body):
            raise NotAWorker("another installation serves the Job's resource", who)
        return Resource.parse(ref.kind, body)


def _bound_pod(review: dict[str, Any]) -> tuple[str, str, str]:
    """Namespace, name and uid of the pod that a reviewed token is bound to. Raises Unauthenticated."""
    if not review.get("authenticated") or TOKEN_AUDIENCE not in (review.get("audiences") or ()):
        raise Unauthenticated("the token is not valid for this audience")
    user = review.get("user") or {}
    extra = user.get("extra") or {}
    parts = str(user.get("username", "")).split(":")
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"] or _POD_UID not in extra:
        raise Unauthenticated("the token is not bound to a pod", str(user.get("username") or "unknown token"))
    return parts[2], extra[_POD_NAME][0], extra[_POD_UID][0]


def _controlling_job(pod: dict[str, Any], who: str) -> str:
    """Uid of the Job that a pod names as its controller. Raises NotAWorker."""
    for owner in controllers(pod):
        if owner.is_job:
            return owner.uid
    raise NotAWorker("the pod has no Job as its controller", who)
