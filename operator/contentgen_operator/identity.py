"""Who a worker is: from its pod-bound token, over the pod's owner, to the Job that a resource's status records.

Never by labels: anyone who may create a pod chooses its labels.
"""

import hashlib
import time
from typing import Any

from contentgen_contract.base import Value
from contentgen_contract.names import GROUP, TOKEN_AUDIENCE, Kind
from contentgen_operator.cache import Cache
from contentgen_operator.kube import Kube
from contentgen_operator.observed import JobView, Resource, ResourceRef
from contentgen_operator.orders import Assignment

_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_REMEMBERED_SECONDS = 300.0
_REMEMBERED = 1024


class Unauthenticated(Exception):
    """The token is not one of ours."""


class Forbidden(Exception):
    """The pod is no worker of a current Job."""


class NotYet(Exception):
    """The Job is there, the status that records it is about to be written."""


class Post(Value):
    """The Job that a worker was started for, which never changes while its pod lives."""

    owner: ResourceRef
    job: JobView


class Gatekeeper:
    """Turns tokens into assignments. Whose pod it is is remembered for minutes; whether its Job is the current one is
    looked up each time.
    """

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube = kube
        self._cache = cache
        self._known: dict[str, tuple[float, Post]] = {}

    async def assignment(self, token: str) -> Assignment:
        """What the bearer of this token works on. Raises Unauthenticated, Forbidden or NotYet."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        known = self._known.get(digest)
        if known is None or time.monotonic() - known[0] >= _REMEMBERED_SECONDS:
            namespace, pod_name, pod_uid = _bound_pod(await self._kube.review_token(token, TOKEN_AUDIENCE))
            known = (time.monotonic(), await self._post_of(namespace, pod_name, pod_uid))
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[digest] = known
        return await self._current(known[1])

    async def _post_of(self, namespace: str, pod_name: str, pod_uid: str) -> Post:
        pod = await self._kube.get_pod(namespace, pod_name)
        if pod is None or pod["metadata"]["uid"] != pod_uid:
            raise Unauthenticated("the pod is gone")
        controller = _controller(pod, "batch/v1", "Job")
        known = self._cache.owned_job(namespace, controller["name"])
        if known is not None and known[1].uid == controller["uid"]:
            return Post(owner=known[0], job=known[1])
        job = await self._kube.get_job(namespace, controller["name"])
        if job is None or job["metadata"]["uid"] != controller["uid"]:
            raise Forbidden("the pod's Job is gone")
        owner = _controller(job, GROUP, *Kind)
        ref = ResourceRef(kind=Kind(owner["kind"]), namespace=namespace, name=owner["name"], uid=owner["uid"])
        return Post(owner=ref, job=JobView.parse(job))

    async def _current(self, post: Post) -> Assignment:
        ref = post.owner
        body = self._cache.resource(ref) or await self._kube.get_resource(ref.kind, ref.namespace, ref.name)
        if body is None or body["metadata"]["uid"] != ref.uid:
            raise Forbidden("the Job's resource is gone")
        self._check_that_it_runs(post)
        resource = Resource.parse(ref.kind, body)
        run = resource.status.run
        if run is None or run.job is None:
            raise NotYet("the resource records no Job yet")
        if run.job.uid != post.job.uid:
            if run.job.started_at is not None and post.job.started_at > run.job.started_at:
                raise NotYet("the resource records the Job before this one")
            raise Forbidden("the resource records another Job")
        return Assignment(resource=resource, run=run, job=run.job)

    def _check_that_it_runs(self, post: Post) -> None:
        """A token outlives its container, and may have been taken."""
        known = self._cache.owned_job(post.owner.namespace, post.job.name)
        job = known[1] if known is not None and known[1].uid == post.job.uid else post.job
        if job.finished:
            raise Forbidden("the Job has ended")


def _bound_pod(review: dict[str, Any]) -> tuple[str, str, str]:
    """Namespace, name and uid of the pod that a reviewed token is bound to."""
    if not review.get("authenticated") or TOKEN_AUDIENCE not in (review.get("audiences") or ()):
        raise Unauthenticated("the token is not valid for this audience")
    user = review.get("user") or {}
    extra = user.get("extra") or {}
    parts = str(user.get("username", "")).split(":")
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"] or _POD_UID not in extra:
        raise Unauthenticated("the token is not bound to a pod")
    return parts[2], extra[_POD_NAME][0], extra[_POD_UID][0]


def _controller(body: dict[str, Any], api: str, *kinds: str) -> dict[str, Any]:
    owners = body["metadata"].get("ownerReferences") or []
    for owner in owners:
        if (
            owner.get("controller")
            and owner["kind"] in kinds
            and owner["apiVersion"].split("/")[0] == api.split("/", maxsplit=1)[0]
        ):
            return dict(owner)
    raise Forbidden("not made by contentgen")
