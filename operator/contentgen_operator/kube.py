"""The Kubernetes API, as the few calls that the operator makes, on plain JSON objects."""

import base64
import json
import logging
from collections.abc import AsyncIterator, Awaitable
from datetime import datetime
from typing import Any
from urllib.parse import quote

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract import story
from contentgen_contract.names import GROUP, TOKEN_AUDIENCE, VERSION, Kind, Phase
from contentgen_operator import metrics
from contentgen_operator.observed import ResourceRef
from contentgen_operator.plan import Notice

Body = dict[str, Any]
_COMPONENT = "contentgen"
_log = logging.getLogger(__name__)
API_ERRORS = (ApiException, aiohttp.ClientError, TimeoutError)
_PAGE = 500
_UNFINISHED = ",".join(f"status.phase!={phase.value}" for phase in Phase if phase.terminal)
_MERGE = "application/merge-patch+json"


class Conflict(Exception):
    """Somebody else wrote in between: observe again."""


class Kube:
    """One connection pool; used as an async context manager.

    Its calls are JSON in and JSON out on the client's connections: the generated methods and models cost seconds at the
    start, tens of megabytes, and a quarter of the operator's work (docs/benchmarks.md).
    """

    def __init__(self) -> None:
        self._api: client.ApiClient | None = None

    async def __aenter__(self) -> "Kube":
        try:
            config.load_incluster_config()
        except config.ConfigException:
            await config.load_kube_config()
        self._api = client.ApiClient()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._api is not None:
            await self._api.close()

    async def get_resource(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """A resource of ours, or None where it is gone."""
        return await _or_none(self._call("GET", _ours(kind, namespace, name)))

    async def unfinished(self, kind: Kind, namespace: str = "") -> AsyncIterator[Body]:
        """The resources that are neither Completed nor Failed, of one namespace or of all."""
        where = f"/namespaces/{namespace}" if namespace else ""
        asked = f"/apis/{GROUP}/{VERSION}{where}/{kind.plural}?limit={_PAGE}&fieldSelector={quote(_UNFINISHED)}"
        page = ""
        while True:
            listed = await self._call("GET", asked + (f"&continue={quote(page)}" if page else ""))
            for body in listed["items"]:
                yield body
            page = listed["metadata"].get("continue") or ""
            if not page:
                return

    async def put_status(self, kind: Kind, namespace: str, name: str, body: Body) -> Body:
        """Replace the status; raises Conflict where `metadata.resourceVersion` is not the newest any more."""
        return await _or_conflict(self._call("PUT", f"{_ours(kind, namespace, name)}/status", body))

    async def put_finalizers(self, kind: Kind, namespace: str, name: str, version: str, finalizers: list[str]) -> Body:
        """Set the finalizers; raises Conflict where `version` is not the newest resourceVersion any more."""
        body = {"metadata": {"resourceVersion": version, "finalizers": finalizers}}
        return await _or_conflict(self._call("PATCH", _ours(kind, namespace, name), body))

    async def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job and its pods; one that is gone is fine."""
        await _or_none(self._call("DELETE", f"{_jobs(namespace)}/{name}?propagationPolicy=Background"))

    async def job_log(self, namespace: str, job: str, characters: int) -> str:
        """The last that the newest pod of a Job said; empty where there is none any more."""
        pods = f"/api/v1/namespaces/{namespace}/pods"
        listed = await self._call("GET", f"{pods}?labelSelector={quote(f'batch.kubernetes.io/job-name={job}')}")
        names = [pod["metadata"]["name"] for pod in listed["items"]]
        if not names:
            return ""
        try:
            said = await self._read("GET", f"{pods}/{names[-1]}/log?tailLines=100&limitBytes=65536")
        except ApiException as error:  # it never started, or its node is gone; a run does not stop for its log
            _log.info("the log of pod %s cannot be read: %s", names[-1], explain(error))
            return ""
        return story.tail([story.told(line) for line in said.decode(errors="replace").splitlines()])[-characters:]

    async def get_job(self, namespace: str, name: str) -> Body | None:
        """A Job, or None."""
        return await _or_none(self._call("GET", f"{_jobs(namespace)}/{name}"))

    async def create_job(self, namespace: str, manifest: Body) -> Body:
        """Create a Job; one that is already there is returned as it is, if it has the same owner."""
        try:
            return await self._call("POST", _jobs(namespace), manifest)
        except ApiException as error:
            if error.status != 409:
                raise
        name = manifest["metadata"]["name"]
        found = await self.get_job(namespace, name)
        owner = manifest["metadata"]["ownerReferences"][0]["uid"]
        if found is None or not owned_by(found, owner):
            raise Conflict(f"Job {name} exists and belongs to something else")
        return found

    async def get_pod(self, namespace: str, name: str) -> Body | None:
        """A pod, or None."""
        return await _or_none(self._call("GET", f"/api/v1/namespaces/{namespace}/pods/{name}"))

    async def review_token(self, token: str) -> Body:
        """The status of a TokenReview for our audience."""
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [TOKEN_AUDIENCE]},
        }
        answer = await self._call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
        return answer.get("status") or {}

    async def get_secret_data(self, namespace: str, name: str) -> tuple[str, dict[str, bytes]]:
        """The resourceVersion and the data of the one Secret that is our own."""
        secret = await self._call("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        data = {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
        return secret["metadata"]["resourceVersion"], data

    async def patch_secret_data(self, namespace: str, name: str, version: str, data: dict[str, bytes]) -> None:
        """Fill that Secret; raises Conflict where another operator was quicker."""
        body = {
            "metadata": {"resourceVersion": version},
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
        await _or_conflict(self._call("PATCH", f"/api/v1/namespaces/{namespace}/secrets/{name}", body))

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
        await self._call("POST", f"/api/v1/namespaces/{ref.namespace}/events", event)

    async def _call(self, method: str, path: str, body: Body | None = None) -> Body:
        answer: Body = json.loads(await self._read(method, path, body))
        return answer

    async def _read(self, method: str, path: str, body: Body | None = None) -> bytes:
        """One request with the client's credentials, which it renews. Raises ApiException unless it is answered 2xx."""
        assert self._api is not None  # noqa: S101 - calls are made inside the context only
        headers = {"Accept": "application/json", "Content-Type": _MERGE if method == "PATCH" else "application/json"}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path
        code = 0
        try:
            response = await self._api.rest_client.request(method, url, headers=headers, body=body)
            code = response.status
            content: bytes = await response.read()
        finally:
            metrics.api_requests.labels(method, _resource_of(path), str(code)).inc()
        if not 200 <= response.status <= 299:
            raise ApiException.from_response(http_resp=response, body=content.decode(errors="replace"), data=None)
        return content


def _resource_of(path: str) -> str:
    """The plural that a path speaks of, for a metric: never a name."""
    parts = path.partition("?")[0].split("/")[3:]
    named = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts else parts[-1:]
    return "/".join([named[0], *named[2:]])


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


def _ours(kind: Kind, namespace: str, name: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{kind.plural}/{name}"


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


async def _or_none(call: Awaitable[Body]) -> Body | None:
    try:
        return await call
    except ApiException as error:
        if error.status == 404:
            return None
        raise


async def _or_conflict(call: Awaitable[Body]) -> Body:
    try:
        return await call
    except ApiException as error:
        if error.status in (404, 409):
            raise Conflict("changed or deleted in between") from error
        raise
