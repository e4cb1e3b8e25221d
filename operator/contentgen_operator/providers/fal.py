"""fal.ai's queue API.

fal-client's own `submit` retries the paid POST up to ten times on timeouts, 429 and 5xx (fal-client 1.0.3,
`_async_maybe_retry_request`), and fal takes no idempotency key: one lost reply could be paid ten times. So the POST
is ours, one, on a plain httpx client; fal-client's request handle, whose calls are free, does the rest.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import fal_client.client
import httpx
from fal_client import AsyncRequestHandle, Completed, InProgress, Queued
from fal_client.client import AppId, FalClientError, FalClientHTTPError

from contentgen_contract import patterns
from contentgen_contract.models import not_found
from contentgen_operator.providers.answers import ANSWER_BYTES
from contentgen_operator.providers.base import (
    REFUSES_KEY,
    TOO_LARGE,
    AccessRefused,
    Busy,
    Call,
    Found,
    KeyRefused,
    MaybeAccepted,
    Refused,
    RequestState,
    RequestView,
    Search,
    Unavailable,
    checked_request_id,
    is_request_id,
    names_key,
    needed,
    seed_marker,
    unreadable,
)
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.limits import HISTORY_BYTES, ReplyTooLarge, large, limited_async, received

# A reconcile looks again by itself; ten attempts with sleeps inside one look would only hold it up.
fal_client.client.MAX_ATTEMPTS = 1

_TIMEOUT = httpx.Timeout(60, connect=10)
# Answers about the caller: to take one for the model's failure would be to pay for another attempt.
_NOT_ABOUT_THE_RESULT = (401, 402, 403, 408, 409, 425, 429)
_MODEL = re.compile(patterns.MODEL_NAME)
_READ_ERRORS = (httpx.HTTPError, FalClientError, ValueError, KeyError, TypeError)


class Fal:
    """`queue_url` and `api_url` are the bases of the queue and of the platform API."""

    name = "fal"

    def __init__(self, key: KeyFile, queue_url: str, api_url: str, timeout: httpx.Timeout = _TIMEOUT) -> None:
        self._key = key
        self._queue_url = queue_url.rstrip("/")
        self._api_url = api_url.rstrip("/")
        self._client = limited_async(httpx.AsyncClient(timeout=timeout, trust_env=False))
        # A connection that fal closes as the paid POST goes out on it is a lost reply, so each POST has a new one.
        fresh = httpx.Limits(max_keepalive_connections=0)
        self._paying = limited_async(httpx.AsyncClient(timeout=timeout, trust_env=False, limits=fresh))
        # The handle builds its URLs from this module constant; there is no other setting with a scheme in it.
        fal_client.client.QUEUE_URL_FORMAT = self._queue_url + "/"
        # Likewise; its 120 s would hold one of the reconcilers up.
        fal_client.client.QUEUE_POLL_TIMEOUT = timeout

    @property
    def configured(self) -> bool:
        """Whether there is a key."""
        return self._key.read() is not None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        await self._paying.aclose()

    async def submit(self, call: Call, before_send: Callable[[], Awaitable[None]]) -> str:
        """One POST, whatever happens; none to a model whose requests could not be asked for afterwards."""
        if not _is_model(call.model):
            raise Refused(_no_model(call.model))
        headers = self._headers(KeyRefused) | {"x-fal-no-retry": "1"}  # else fal retries a failed run, and bills it
        await before_send()
        try:
            reply = await self._paying.post(f"{self._queue_url}/{call.model}", json=call.arguments, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Busy(f"fal could not be reached: {str(error) or type(error).__name__}") from error
        except httpx.HTTPError as error:
            raise MaybeAccepted(f"fal's reply was lost: {str(error) or type(error).__name__}") from error
        return _request_id(reply, call.model)

    async def poll(self, model: str, request_id: str) -> RequestView:
        """One GET of the status; at its end one more for the result."""
        try:
            self._client.headers.update(self._headers())
            handle = self._handle(model, request_id)
            status = await handle.status(with_logs=True)
            match status:
                case Queued(position=position):
                    return RequestView(state=RequestState.QUEUED, message=f"in fal's queue, position {position}")
                case InProgress():
                    return RequestView(state=RequestState.RUNNING, message="running at fal")
                case Completed(error=str(error)):
                    return await self._result(handle, error)
                case _:
                    return await self._result(handle, None)
        except _READ_ERRORS as error:
            raise unreadable("fal", f"fal could not be asked: {_short(error)}", _code(error)) from error

    async def _result(self, handle: AsyncRequestHandle, error: str | None) -> RequestView:
        async with self._client.stream("GET", handle.response_url, extensions=large(ANSWER_BYTES)) as reply:
            if reply.status_code == 200 and error is None:
                return await _succeeded(reply)
            await reply.aread()
        if error is None and (reply.status_code >= 500 or reply.status_code in _NOT_ABOUT_THE_RESULT):
            raise unreadable("fal", f"fal's result answered {reply.status_code}", reply.status_code)
        return RequestView(state=RequestState.FAILED, message=error_text(reply) or error or "")

    async def cancel(self, model: str, request_id: str) -> bool:
        """fal answers 202 to a wish: only its status tells whether the request has ended."""
        try:
            self._client.headers.update(self._headers())
            handle = self._handle(model, request_id)
            reply = await self._client.put(handle.cancel_url)
        except _READ_ERRORS as error:
            raise unreadable("fal", f"fal could not be asked to cancel: {_short(error)}", _code(error)) from error
        if reply.status_code >= 500 or reply.status_code in _NOT_ABOUT_THE_RESULT:
            raise unreadable("fal", f"fal answered {reply.status_code} to the cancellation", reply.status_code)
        return (await self.poll(model, request_id)).state is RequestState.FAILED

    async def find(self, search: Search) -> Found:
        """fal's history lists finished requests only, so a running one is found when it ends."""
        try:
            reply = await self._client.get(
                f"{self._api_url}/v1/models/requests/by-endpoint",
                params={"endpoint_id": search.call.model, "expand": "payloads", "limit": 100},
                headers=self._headers(),
                extensions=large(HISTORY_BYTES),
            )
            reply.raise_for_status()
            items = reply.json().get("items", [])
            found = (str(item["request_id"]) for item in items if _has_marker(item, search.call.marker))
            return Found(
                request_id=next((each for each in found if is_request_id(each) and each not in search.claimed), None),
                complete=True,
            )
        except _READ_ERRORS as error:
            raise unreadable("fal", f"fal's history could not be read: {_short(error)}", _code(error)) from error

    def _handle(self, model: str, request_id: str) -> AsyncRequestHandle:
        if not _is_model(model):
            raise Unavailable(_no_model(model))
        return AsyncRequestHandle.from_request_id(self._client, model, checked_request_id(request_id))

    def _headers(self, refused: type[KeyRefused | AccessRefused] = AccessRefused) -> dict[str, str]:
        return {"Authorization": f"Key {needed(self._key, self.name, refused)}"}


def _is_model(model: str) -> bool:
    """Whether it is the path of a model, and of its requests: fal-client takes these apart."""
    if not _MODEL.fullmatch(model):
        return False
    try:
        AppId.from_endpoint_id(model)
    except (ValueError, IndexError):
        return False
    return True


def _no_model(model: str) -> str:
    return f"{not_found(model[:140])}; a full name is written as fal-ai/flux/dev"


async def _succeeded(reply: httpx.Response) -> RequestView:
    try:
        return RequestView(state=RequestState.SUCCEEDED, result=await received(reply))
    except ReplyTooLarge:
        return TOO_LARGE


def _request_id(reply: httpx.Response, model: str) -> str:
    """The id of an accepted request, else the verdict. Only a 4xx is fal's own word that it took nothing."""
    if reply.is_success:
        try:
            given = reply.json()["request_id"]
        except (ValueError, KeyError, TypeError):
            given = None
        if not is_request_id(given):
            raise MaybeAccepted(f"fal's reply ({reply.status_code}) holds no request_id")
        return given
    text = f"fal answered {reply.status_code}: {error_text(reply)}"
    if reply.status_code == 404:
        text = f"{text}; {not_found(model)}"
    if reply.status_code == 429:
        raise Busy(text)
    if reply.status_code in REFUSES_KEY:
        raise KeyRefused("fal", text)
    if 400 <= reply.status_code < 500 and reply.status_code != 408:
        raise Refused(text)
    raise MaybeAccepted(text)


def error_text(reply: httpx.Response) -> str:
    """fal's `detail`: a text, or a list of {loc, msg}."""
    try:
        detail: Any = reply.json().get("detail", "")
    except (ValueError, AttributeError):
        return reply.text[:300]
    if isinstance(detail, list) and all(isinstance(each, dict) for each in detail):
        return "; ".join(f"{'.'.join(map(str, d.get('loc', [])))}: {d.get('msg', '')}" for d in detail)[:600]
    return str(detail)[:600]


def _has_marker(item: dict[str, Any], marker: str) -> bool:
    given = item.get("json_input") or {}
    return names_key(str(given.get("images_data_url", "")), marker) or seed_marker(given) == marker


def _code(error: Exception) -> int | None:
    match error:
        case FalClientHTTPError(status_code=code):
            return code
        case httpx.HTTPStatusError(response=reply):
            return reply.status_code
        case _:
            return None


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).split("?")[0][:300]
