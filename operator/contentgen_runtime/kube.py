"""The Kubernetes API as JSON in and JSON out, on the official client's connections.

The generated methods and models cost seconds at the start, tens of megabytes, and a quarter of the operator's work
(docs/benchmarks.md).
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

Body = dict[str, Any]
Watch = Callable[[str, str, int], None]
"""Told of each request: its method, its path, and the code of the answer, 0 where there was none."""

API_ERRORS = (ApiException, aiohttp.ClientError, TimeoutError)
_USER_AGENT = "contentgen"  # also the field manager of what is written, which would be `Python` otherwise
_MERGE = "application/merge-patch+json"
WATCH_SECONDS = 50  # a whole number: the API server refuses others
_SILENT_SECONDS = 65  # a watch that lasts longer has died without a word


class Conflict(Exception):
    """Somebody else wrote in between: observe again."""


class KubeApi:
    """One connection pool; used as an async context manager."""

    def __init__(self, watch: Watch = lambda *_: None) -> None:
        self._watch = watch
        self._api: client.ApiClient | None = None

    async def __aenter__(self) -> "KubeApi":
        try:
            config.load_incluster_config()
        except config.ConfigException:
            await config.load_kube_config()
        self._api = client.ApiClient()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._api is not None:
            await self._api.close()

    async def call(self, method: str, path: str, body: Body | None = None) -> Body:
        """One request, and the object that answers it. Raises one of API_ERRORS."""
        answer: Body = json.loads(await self.read(method, path, body))
        return answer

    async def read(self, method: str, path: str, body: Body | None = None) -> bytes:
        """One request with the client's credentials, which it renews. Raises ApiException unless it is answered 2xx."""
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

    async def watch(self, path: str, version: str) -> AsyncGenerator[tuple[str, Body]]:
        """What becomes of a collection after a version: ADDED, MODIFIED, DELETED or BOOKMARK, and the object.

        It ends by itself after `WATCH_SECONDS`, so that one that died silently is told from one where nothing happens.
        Raises one of API_ERRORS; ApiException with status 410 where the version is too old: list again.
        """
        how = f"watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}"
        async with self._open(f"{path}{'&' if '?' in path else '?'}{how}") as stream, aclosing(_lines(stream)) as lines:
            async for line in lines:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ApiException(status=status.get("code"), reason=status.get("message"))
                yield event["type"], event["object"]

    @asynccontextmanager
    async def _open(self, path: str) -> AsyncIterator[aiohttp.StreamReader]:
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

    async def _send(self, method: str, path: str, body: Body | None, limit: aiohttp.ClientTimeout | None = None) -> Any:
        assert self._api is not None  # noqa: S101 - calls are made inside the context only
        content = _MERGE if method == "PATCH" else "application/json"
        headers = {"Accept": "application/json", "Content-Type": content, "User-Agent": _USER_AGENT}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path
        return await self._api.rest_client.request(method, url, headers=headers, body=body, _request_timeout=limit)

    async def review_token(self, token: str, audience: str) -> Body:
        """The status of a TokenReview."""
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        answer = await self.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
        return answer.get("status") or {}


async def _lines(stream: aiohttp.StreamReader) -> AsyncGenerator[bytes]:
    """The whole lines of a stream, however long: aiohttp's own are limited."""
    begun = b""
    async for part in stream.iter_any():
        *whole, begun = (begun + part).split(b"\n")
        for line in whole:
            yield line


def explain(error: Exception) -> str:
    """An error of the API server in its own words, without headers."""
    if isinstance(error, ApiException):
        try:
            return f"{error.status} {json.loads(error.body or '')['message']}"[:300]
        except (ValueError, KeyError, TypeError):
            return f"{error.status} {error.reason}"
    return (str(error) or type(error).__name__)[:300]


async def or_none(call: Awaitable[Body]) -> Body | None:
    """The answer, or None where there is no such object."""
    try:
        return await call
    except ApiException as error:
        if error.status == 404:
            return None
        raise


async def or_conflict(call: Awaitable[Body]) -> Body:
    """The answer; raises Conflict where the object is not what it was any more."""
    try:
        return await call
    except ApiException as error:
        if error.status in (404, 409):
            raise Conflict("changed or deleted in between") from error
        raise
