"""The Kubernetes API, as the few calls that the operator makes, on plain JSON objects."""

import base64
import json
from datetime import datetime
from typing import Any

from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import GROUP, TOKEN_AUDIENCE, VERSION, Kind
from contentgen_operator.observed import ResourceRef
from contentgen_operator.plan import Notice

Body = dict[str, Any]
_COMPONENT = "contentgen"
# Left to itself the client would call a dict a JSON patch, which is a list of operations.
_MERGE = "application/merge-patch+json"


class Conflict(Exception):
    """Somebody else wrote in between: observe again."""


class Kube:
    """One connection pool; used as an async context manager."""

    def __init__(self) -> None:
        self._api: client.ApiClient | None = None

    async def __aenter__(self) -> "Kube":
        try:
            config.load_incluster_config()
        except config.ConfigException:
            await config.load_kube_config()
        self._api = client.ApiClient()
        self._objects = client.CustomObjectsApi(self._api)
        self._core = client.CoreV1Api(self._api)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._api is not None:
            await self._api.close()

    async def get_resource(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """A resource of ours, or None where it is gone."""
        call = self._objects.get_namespaced_custom_object(GROUP, VERSION, namespace, kind.plural, name)
        return _body(await _or_none(call))

    async def put_status(self, kind: Kind, namespace: str, name: str, body: Body) -> Body:
        """Replace the status; raises Conflict where `metadata.resourceVersion` is not the newest any more."""
        call = self._objects.replace_namespaced_custom_object_status(GROUP, VERSION, namespace, kind.plural, name, body)
        return await _or_conflict(call)

    async def put_finalizers(self, kind: Kind, namespace: str, name: str, version: str, finalizers: list[str]) -> Body:
        """Set the finalizers; raises Conflict where `version` is not the newest resourceVersion any more."""
        body = {"metadata": {"resourceVersion": version, "finalizers": finalizers}}
        call = self._objects.patch_namespaced_custom_object(
            GROUP, VERSION, namespace, kind.plural, name, body, _content_type=_MERGE
        )
        return await _or_conflict(call)

    async def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job and its pods; one that is gone is fine."""
        call = self._objects.delete_namespaced_custom_object(
            "batch", "v1", namespace, "jobs", name, propagation_policy="Background"
        )
        await _or_none(call)

    async def job_log(self, namespace: str, job: str, characters: int) -> str:
        """The last that the newest pod of a Job said; empty where there is none any more."""
        pods = await self._core.list_namespaced_pod(namespace, label_selector=f"batch.kubernetes.io/job-name={job}")
        names = [pod["metadata"]["name"] for pod in self._plain(pods)["items"]]
        if not names:
            return ""
        call = self._core.read_namespaced_pod_log(names[-1], namespace, tail_lines=100, limit_bytes=65536)
        try:
            return str(await call)[-characters:]
        except ApiException as error:
            if error.status in (400, 404):  # it never started
                return ""
            raise

    async def get_job(self, namespace: str, name: str) -> Body | None:
        """A Job, or None."""
        call = self._objects.get_namespaced_custom_object("batch", "v1", namespace, "jobs", name)
        return _body(await _or_none(call))

    async def create_job(self, namespace: str, manifest: Body) -> Body:
        """Create a Job; one that is already there is returned as it is, if it has the same owner."""
        name = manifest["metadata"]["name"]
        try:
            created = await self._objects.create_namespaced_custom_object("batch", "v1", namespace, "jobs", manifest)
            return _body(created) or {}
        except ApiException as error:
            if error.status != 409:
                raise
        found = await self.get_job(namespace, name)
        owner = manifest["metadata"]["ownerReferences"][0]["uid"]
        if found is None or not owned_by(found, owner):
            raise Conflict(f"Job {name} exists and belongs to something else")
        return found

    async def get_pod(self, namespace: str, name: str) -> Body | None:
        """A pod, or None."""
        pod = await _or_none(self._core.read_namespaced_pod(name, namespace))
        return self._plain(pod) if pod is not None else None

    async def review_token(self, token: str) -> Body:
        """The status of a TokenReview for our audience."""
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [TOKEN_AUDIENCE]},
        }
        answer = await self._objects.create_cluster_custom_object("authentication.k8s.io", "v1", "tokenreviews", review)
        return (_body(answer) or {}).get("status") or {}

    async def get_secret_data(self, namespace: str, name: str) -> tuple[str, dict[str, bytes]]:
        """The resourceVersion and the data of the one Secret that is our own."""
        secret = self._plain(await self._core.read_namespaced_secret(name, namespace))
        data = {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
        return secret["metadata"]["resourceVersion"], data

    async def patch_secret_data(self, namespace: str, name: str, version: str, data: dict[str, bytes]) -> None:
        """Fill that Secret; raises Conflict where another operator was quicker."""
        body = {
            "metadata": {"resourceVersion": version},
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
        await _or_conflict(self._core.patch_namespaced_secret(name, namespace, body, _content_type=_MERGE))

    async def post_event(self, ref: ResourceRef, notice: Notice, now: datetime) -> None:
        """An Event on a resource.

        The core group's, not events.k8s.io's: `kubectl describe` sorts by lastTimestamp, which that one may not set.
        """
        time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "metadata": {"generateName": f"{ref.name}-", "namespace": ref.namespace},
            "type": notice.type,
            "reason": notice.reason,
            "message": notice.message.encode()[:1000].decode(errors="ignore"),  # the limit is in bytes
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
            "source": {"component": _COMPONENT},
            "involvedObject": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": ref.kind.value,
                "namespace": ref.namespace,
                "name": ref.name,
                "uid": ref.uid,
            },
        }
        await self._core.create_namespaced_event(ref.namespace, client.CoreV1Event.model_validate(event))

    def _plain(self, model: Any) -> Body:
        assert self._api is not None  # noqa: S101 - calls are made inside the context only
        return dict(self._api.sanitize_for_serialization(model))


def explain(error: Exception) -> str:
    """An error of the API server in its own words, without headers."""
    if isinstance(error, ApiException):
        try:
            return f"{error.status} {json.loads(error.body or '')['message']}"[:300]
        except (ValueError, KeyError, TypeError):
            return f"{error.status} {error.reason}"
    return (str(error) or type(error).__name__)[:300]


def owned_by(body: Body, uid: str) -> bool:
    """Whether an object's controller has this uid."""
    owners = body["metadata"].get("ownerReferences") or []
    return any(owner["uid"] == uid and owner.get("controller") for owner in owners)


def _body(answer: object) -> Body | None:
    return answer if isinstance(answer, dict) else None


async def _or_none(call: Any) -> Any:
    try:
        return await call
    except ApiException as error:
        if error.status == 404:
            return None
        raise


async def _or_conflict(call: Any) -> Body:
    try:
        return _body(await call) or {}
    except ApiException as error:
        if error.status in (404, 409):
            raise Conflict("changed or deleted in between") from error
        raise
