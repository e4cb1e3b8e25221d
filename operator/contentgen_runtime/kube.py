"""Kubernetes API client on plain JSON objects, with the official client's connections and credentials.

The generated methods and models cost seconds at the start, tens of megabytes, and a quarter of the operator's CPU time
(docs/benchmarks.md).
"""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.api_paths import NAMESPACES, TOKEN_REVIEWS, ApiPath, ApiResource, InvalidName, Query, api_path

Body = dict[str, Any]
Watch = Callable[[str, str, int], None]
"""Called for each request with its method, its path and the status code; 0 without a response."""

API_ERRORS = (ApiException, aiohttp.ClientError, TimeoutError)
_USER_AGENT = "contentgen"  # also the field manager, which would be `Python` otherwise
_MERGE = "application/merge-patch+json"
WATCH_SECONDS = 50  # a whole number: the API server refuses others
_SILENT_SECONDS = 65  # a watch that lasts longer is dead
_PAGE = 500
_NO_OBJECT = 502  # Bad Gateway: the response is not a JSON object
_log = logging.getLogger(__name__)


class Conflict(Exception):
    """Another process has written in between: observe again."""


class Page(NamedTuple):
    """Page of a list, with the resourceVersion of the whole list."""

    version: str
    items: list[Body]


@dataclass(frozen=True, slots=True)
class Lookup:
    """Requested object and the component that requests it; a uid of None is any."""

    resource: ApiResource
    namespace: str | None
    name: str
    uid: str | None
    asked_by: str

    def __str__(self) -> str:
        uid = f", uid {self.uid}" if self.uid is not None else ""
        return f"{self.resource.kind} {self.namespace!a}/{self.name!a}{uid}, asked for by {self.asked_by}"[:500]


class KubeApi:
    """Client with one connection pool; an async context manager."""

    def __init__(self, watch: Watch = lambda *_: None) -> None:
        self._watch = watch
        self._api: client.ApiClient | None = None

    async def __aenter__(self) -> "KubeApi":
        try:
            config.load_incluster_config()
        except config.ConfigException:
            await config.load_kube_config()
        configuration = client.Configuration.get_default_copy()
        # With `trust_env` aiohttp reads the environment and ~/.netrc in a thread for each request.
        configuration.client_session_kwargs = {"trust_env": False}
        configuration.proxy = configuration.proxy or proxy_of(configuration.host)
        self._api = client.ApiClient(configuration)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._api is not None:
            await self._api.close()

    async def get(
        self, resource: ApiResource, namespace: str | None, name: str, *, uid: str | None = None, asked_by: str
    ) -> Body | None:
        """Get an object. None if it is missing, if the name is not a Kubernetes name, or if the response is a different
        object, which is logged with `asked_by`. Raises one of API_ERRORS.
        """
        lookup = Lookup(resource, namespace, name, uid, asked_by)
        try:
            body = await or_none(self.request("GET", resource, namespace=namespace, name=name))
        except InvalidName as error:
            _log.warning("%s is not looked up: %s", lookup, error)
            return None
        if body is not None and (mismatch := mismatch_of(lookup, body)):
            _log.error("%s: the answer is another object and is not used: %s", lookup, mismatch)
            return None
        return body

    async def get_namespace(self, name: str) -> Body | None:
        """Get a namespace; None if it does not exist. Raises one of API_ERRORS."""
        return await self.get(NAMESPACES, None, name, asked_by="tenancy")

    async def pages(
        self, resource: ApiResource, namespace: str | None, query: Query | None = None
    ) -> AsyncGenerator[Page]:
        """Pages of a collection in one namespace; None is all. Raises InvalidName, or one of API_ERRORS."""
        more = ""
        while True:
            asked = {"limit": _PAGE} | dict(query or {}) | ({"continue": more} if more else {})
            listed = await self.request("GET", resource, namespace=namespace, query=asked)
            items = [each_resource for each_resource in listed["items"] if lies_in(namespace, each_resource)]
            yield Page(listed["metadata"]["resourceVersion"], items)
            if not (more := listed["metadata"].get("continue") or ""):
                return

    async def request(
        self,
        method: str,
        resource: ApiResource,
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
        query: Query | None = None,
        body: Body | None = None,
    ) -> Body:
        """Send a request; returns the object of the response. Raises InvalidName, or one of API_ERRORS."""
        path = api_path(resource, namespace=namespace, name=name, subresource=subresource, query=query)
        return await self.call(method, path, body)

    async def call(self, method: str, path: ApiPath, body: Body | None = None) -> Body:
        """Send a request; returns the JSON object of the response. Raises one of API_ERRORS."""
        content = await self.read(method, path, body)
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise ApiException(status=_NO_OBJECT, reason="the answer is no JSON object")
        return answer

    async def read(self, method: str, path: ApiPath, body: Body | None = None) -> bytes:
        """Send a request with the client's credentials, renewed as needed. Raises ApiException if not answered 2xx."""
        code = 0
        try:
            response = await self._send(method, path, body)
            code = response.status
            content: bytes = await response.read()
        finally:
            self._watch(method, path, code)
        if not 200 <= response.status <= 299:
            raise ApiException.from_response(http_resp=response, body=content.decode(errors="replace"), data=None)
        return content

    async def watch(
        self, resource: ApiResource, namespace: str | None, version: str, labels: str = ""
    ) -> AsyncGenerator[tuple[str, Body]]:
        """Changes of a collection since a version: ADDED, MODIFIED, DELETED or BOOKMARK, with the object.
        Namespace None: all.

        The watch ends after `WATCH_SECONDS`, which distinguishes a dead watch from an idle one. Raises InvalidName, or
        one of API_ERRORS; ApiException with status 410 if the version is too old: list again.
        """
        how: Query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": WATCH_SECONDS}
        how = {**how, "resourceVersion": version} | ({"labelSelector": labels} if labels else {})
        path = api_path(resource, namespace=namespace, query=how)
        async with self._open(path) as stream, aclosing(_lines(stream)) as lines:
            async for line in lines:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiException(status=status.get("code"), reason=status.get("message"))
                if event["type"] == "BOOKMARK" or lies_in(namespace, event["object"]):
                    yield event["type"], event["object"]

    @asynccontextmanager
    async def _open(self, path: ApiPath) -> AsyncIterator[aiohttp.StreamReader]:
        code = 0
        try:
            answer = await self._send("GET", path, None, aiohttp.ClientTimeout(total=_SILENT_SECONDS, sock_connect=10))
            code = answer.status
        finally:
            self._watch("GET", path, code)
        try:
            if code != 200:
                content = (await answer.read()).decode(errors="replace")
                raise ApiException.from_response(http_resp=answer, body=content, data=None)
            yield answer.response.content
        finally:
            answer.response.close()

    async def _send(
        self, method: str, path: ApiPath, body: Body | None, limit: aiohttp.ClientTimeout | None = None
    ) -> Any:
        assert self._api is not None  # noqa: S101 - calls are made inside the context only
        content = _MERGE if method == "PATCH" else "application/json"
        headers = {"Accept": "application/json", "Content-Type": content, "User-Agent": _USER_AGENT}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path
        return await self._api.rest_client.request(method, url, headers=headers, body=body, _request_timeout=limit)

    async def review_token(self, token: str, audience: str) -> Body:
        """Create a TokenReview; returns its status."""
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        answer = await self.request("POST", TOKEN_REVIEWS, body=review)
        return answer.get("status") or {}


async def _lines(stream: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """Complete lines of a stream; aiohttp's own iterator limits their length."""
    begun = b""
    async for part in stream.iter_any():
        *whole, begun = (begun + part).split(b"\n")
        for line in whole:
            yield line


def proxy_of(url: str) -> str | None:
    """Proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for a URL; None: a direct connection."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def explain(error: Exception) -> str:
    """Message of an API server's error, without headers, of at most 300 characters."""
    if isinstance(error, ApiException):
        try:
            return f"{error.status} {json.loads(error.body or '')['message']}"[:300]
        except (ValueError, KeyError, TypeError):
            return f"{error.status} {error.reason}"
    return (str(error) or type(error).__name__)[:300]


def lies_in(namespace: str | None, body: Body) -> bool:
    """True if an object of a list or a watch has the requested namespace (None: any); logs one that has not."""
    if namespace is None or _meta(body).get("namespace") == namespace:
        return True
    _log.error("an object of another namespace than %r is not used: %s", namespace, _named(body))
    return False


def mismatch_of(lookup: Lookup, body: Body) -> str:
    """Difference between the requested object and the one of the response; empty if there is none.

    Objects of a list have no kind and no apiVersion, so these are compared if present.
    """
    meta = _meta(body)
    asked = {"namespace": lookup.namespace, "name": lookup.name}
    if lookup.uid is not None:
        asked["uid"] = lookup.uid
    found = {key: meta.get(key) for key in asked}
    for key, value in (("kind", lookup.resource.kind), ("apiVersion", lookup.resource.api_version)):
        if key in body:
            asked[key], found[key] = value, body[key]
    return "; ".join(
        f"{key} is {ascii(found[key])[:100]} and not {value!a}" for key, value in asked.items() if found[key] != value
    )


def _meta(body: Any) -> Body:
    meta = body.get("metadata") if isinstance(body, dict) else None
    return meta if isinstance(meta, dict) else {}


def _named(body: Any) -> str:
    return ascii({key: _meta(body).get(key) for key in ("namespace", "name", "uid")})[:300]


async def or_none(call: Awaitable[Body]) -> Body | None:
    """Response of a call; None if it is 404."""
    try:
        return await call
    except ApiException as error:
        if error.status == 404:
            return None
        raise


async def or_conflict(call: Awaitable[Body]) -> Body:
    """Response of a call. Raises Conflict if the object has changed or is missing, or if its name is invalid."""
    try:
        return await call
    except InvalidName as error:
        raise Conflict(str(error)) from error
    except ApiException as error:
        if error.status in (404, 409):
            raise Conflict("changed or deleted in between") from error
        raise
