"""fal.ai's queue API.

fal-client's own `submit` retries the paid POST up to ten times on timeouts, 429 and 5xx (fal-client 1.0.3,
`_async_maybe_retry_request`), and fal supports no idempotency key: one lost reply could be paid ten times. So a plain
httpx client sends one POST, and fal-client's request handle makes the other calls, which are free.
"""

import asyncio
import re
import ssl
from typing import Any

import fal_client.client
import httpx
from fal_client import AsyncRequestHandle, Completed, InProgress, Queued
from fal_client.client import AppId, FalClientError, FalClientHTTPError

from contentgen_contract import patterns
from contentgen_contract.resources.models import not_found_message
from contentgen_operator.providers.answers import AnswerFile, TooManyAnswers
from contentgen_operator.providers.base import (
    REFUSES_KEY,
    AccessRefused,
    Busy,
    KeyRefused,
    MaybeAccepted,
    Refused,
    Unavailable,
    checked_request_id,
    key_id,
    read_error,
    required_key,
    short_text,
)
from contentgen_operator.providers.fal_history import FalHistory
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.limits import ReplyTooLarge, limit_replies_async, read_answer, reply_limit
from contentgen_operator.providers.network import trusted_cas
from contentgen_operator.providers.retry_after import retry_after
from contentgen_operator.providers.sending import POST_SECONDS, BeforeSend, Gate, SendStopped
from contentgen_operator.state.provider_requests import (
    ANSWER_BYTES,
    GONE,
    TOO_LARGE,
    UNKNOWN,
    Call,
    Found,
    RequestState,
    RequestView,
    Search,
    Verified,
    billable_units,
    is_request_id,
)

# The next reconcile retries a read; ten attempts with pauses would only delay this one.
fal_client.client.MAX_ATTEMPTS = 1

_TIMEOUT = httpx.Timeout(60, connect=10)
# Answers about the caller; treating one as a failure of the model would pay for another attempt.
_NOT_ABOUT_THE_RESULT = (401, 402, 403, 408, 409, 425, 429)
_TAG = re.compile(r"[A-Za-z0-9._-]{1,100}")
_UNITS_HEADER = "x-fal-billable-units"  # on a result
_CLIENT_CLOSED = 499  # of a request that was cancelled
_MODEL = re.compile(patterns.MODEL_NAME)
# RecursionError: JSON that is nested too deeply.
_READ_ERRORS = (httpx.HTTPError, FalClientError, ValueError, KeyError, TypeError, RecursionError)


class Fal:
    """Client of fal. `queue_url` and `api_url` are base URLs of the queue and the platform API; `tls` has the CAs."""

    name = "fal"

    def __init__(
        self,
        key: KeyFile,
        queue_url: str,
        api_url: str,
        timeout: httpx.Timeout = _TIMEOUT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._key = key
        self._queue_url = queue_url.rstrip("/")
        self._api_url = api_url.rstrip("/")
        tls = tls or trusted_cas()
        self._client = limit_replies_async(httpx.AsyncClient(timeout=timeout, verify=tls))
        # A reused connection that fal closes during the paid POST would lose the reply, so each POST has a new one.
        fresh = httpx.Limits(max_keepalive_connections=0)
        self._paying = limit_replies_async(httpx.AsyncClient(timeout=timeout, verify=tls, limits=fresh))
        self._history = FalHistory(self._client, f"{self._api_url}/v1/models/requests/by-endpoint", self._headers)
        # The handle builds its URLs from this module constant; there is no other setting with a scheme in it.
        fal_client.client.QUEUE_URL_FORMAT = self._queue_url + "/"
        # Likewise; its 120 s would block one of the reconcilers.
        fal_client.client.QUEUE_POLL_TIMEOUT = timeout

    @property
    def configured(self) -> bool:
        """True if there is a key."""
        return self._key.read() is not None

    @property
    def key_id(self) -> str | None:
        """See Provider."""
        return key_id(self._key, self.name)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        await self._paying.aclose()

    async def submit(self, call: Call, before_send: BeforeSend) -> str:
        """Exactly one POST, without retries; none to a model name for which fal-client could not poll afterwards."""
        if not _is_model(call.model):
            raise Refused(_no_model_text(call.model))
        limit = asyncio.timeout(None)
        gate = Gate(before_send, limit)
        request = self._post(call, gate)
        try:
            async with limit:
                reply = await self._paying.send(request)
        except SendStopped as stopped:
            raise stopped.cause from None
        except TimeoutError as error:
            raise MaybeAccepted(f"fal's reply was lost: there was no reply within {POST_SECONDS:.0f} s") from error
        except httpx.HTTPError as error:
            text = str(error) or type(error).__name__
            if gate.opened:
                raise MaybeAccepted(f"fal's reply was lost: {text}") from error
            raise Busy(f"fal could not be reached: {text}") from error
        return _request_id(reply, call.model)

    def _post(self, call: Call, gate: Gate) -> httpx.Request:
        # Without the second header fal retries a failed run, and bills it.
        headers = self._headers(KeyRefused) | {"x-fal-no-retry": "1"} | _tags(call.purchase_id)
        url = f"{self._queue_url}/{call.model}"
        try:
            return self._paying.build_request(
                "POST", url, json=call.arguments, headers=headers, extensions={"trace": gate.trace}
            )
        except ValueError as error:
            raise Refused(f"the request cannot be written as JSON: {type(error).__name__}") from error

    async def poll(self, model: str, request_id: str) -> RequestView:
        """One GET of the status, and one of the result once the request has ended."""
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
                    return await self._result(model, handle, error)
                case _:
                    return await self._result(model, handle, None)
        except _READ_ERRORS as error:
            if _is_unknown(error):
                return await self._kept(model, request_id, UNKNOWN)
            raise read_error("fal", f"fal could not be read: {short_text(error)}", _code(error)) from error

    async def _result(self, model: str, handle: AsyncRequestHandle, error: str | None) -> RequestView:
        async with self._client.stream("GET", handle.response_url, extensions=reply_limit(ANSWER_BYTES)) as reply:
            if reply.status_code == 200 and error is None:
                return await _succeeded(reply)
            await reply.aread()
        if error is None and _is_gone(reply):
            return await self._kept(model, handle.request_id, GONE)
        if error is None and (reply.status_code >= 500 or reply.status_code in _NOT_ABOUT_THE_RESULT):
            raise read_error("fal", f"fal's result answered {reply.status_code}", reply.status_code)
        return _failed(reply, error_text(reply) or error or "")

    async def _kept(self, model: str, request_id: str, otherwise: RequestView) -> RequestView:
        """Result from fal's history: the queue keeps it for minutes, the history for 30 days."""
        entry = await self._history.entry(model, request_id)
        output, code = (entry.get("json_output"), entry.get("status_code")) if entry else (None, None)
        if isinstance(output, dict) and output and code == 200:
            return RequestView(state=RequestState.SUCCEEDED, result=_answer(output))
        if isinstance(code, int) and code >= 400:
            message = detail_text(output.get("detail", "")) if isinstance(output, dict) else ""
            return _failed_view(code, None, message or f"it ended with {code}", reported=False)
        return otherwise

    async def cancel(self, model: str, request_id: str) -> bool:
        """One PUT; fal answers 202 at once, so the status is polled for the end of the request."""
        try:
            self._client.headers.update(self._headers())
            handle = self._handle(model, request_id)
            reply = await self._client.put(handle.cancel_url)
        except _READ_ERRORS as error:
            raise read_error(
                "fal", f"the cancellation could not be sent to fal: {short_text(error)}", _code(error)
            ) from error
        if reply.status_code >= 500 or reply.status_code in _NOT_ABOUT_THE_RESULT:
            raise read_error("fal", f"fal answered {reply.status_code} to the cancellation", reply.status_code)
        return (await self.poll(model, request_id)).state is RequestState.FAILED

    async def find(self, search: Search) -> Found:
        """One search of fal's history, which lists finished requests only."""
        return await self._history.find(search)

    async def verify(self, search: Search, request_id: str) -> Verified:
        """Comparison with fal's history; None while the request runs, because fal lists only finished inputs."""
        return await self._history.verify(search, checked_request_id(request_id))

    def _handle(self, model: str, request_id: str) -> AsyncRequestHandle:
        if not _is_model(model):
            raise Unavailable(_no_model_text(model))
        return AsyncRequestHandle.from_request_id(self._client, model, checked_request_id(request_id))

    def _headers(self, refused: type[KeyRefused | AccessRefused] = AccessRefused) -> dict[str, str]:
        return {"Authorization": f"Key {required_key(self._key, self.name, refused)}"}


def _is_model(model: str) -> bool:
    """True if it is a valid model name, which fal-client can split into owner, alias and path."""
    if not _MODEL.fullmatch(model):
        return False
    try:
        AppId.from_endpoint_id(model)
    except (ValueError, IndexError):
        return False
    return True


def _tags(purchase_id: str) -> dict[str, str]:
    """Headers with a tag that fal repeats in its billing; fal drops invalid tags, never the request.

    No search for a lost reply uses them: fal documents neither a filter by tag nor tags in the entries of the request
    history. Only the billing events have them (source=tagged-billed): late, of billed requests, and for accounts whose
    reports by tag fal has switched on.
    """
    return {"x-fal-tags": f"contentgen-purchase={purchase_id}"} if _TAG.fullmatch(purchase_id) else {}


def _no_model_text(model: str) -> str:
    return f"{not_found_message(model[:140])}; a full name is written as fal-ai/flux/dev"


async def _succeeded(reply: httpx.Response) -> RequestView:
    units = billable_units(reply.headers.get(_UNITS_HEADER, ""))
    try:
        return RequestView(state=RequestState.SUCCEEDED, result=await read_answer(reply), billable_units=units)
    except ReplyTooLarge:
        return TOO_LARGE.model_copy(update={"billable_units": units})


def _failed(reply: httpx.Response, message: str) -> RequestView:
    """Failed request from its result's reply; fal bills no server error, but may bill a 422 that used GPU time."""
    units = billable_units(reply.headers.get(_UNITS_HEADER, ""))
    reported = reply.headers.get("x-fal-error-type") == "client_cancelled"
    return _failed_view(reply.status_code, units, message, reported=reported)


def _failed_view(code: int, units: float | None, message: str, *, reported: bool) -> RequestView:
    """Failed request with these billable units; `reported`: fal reports it as cancelled."""
    cancelled = reported or code == _CLIENT_CLOSED or "cancelled" in message[:200].lower()
    free = 0.0 if units is None and code >= 500 else units
    return RequestView(state=RequestState.FAILED, message=message, billable_units=free, cancelled=cancelled)


def _answer(output: dict[str, Any]) -> AnswerFile:
    try:
        return AnswerFile.of(output)
    except TooManyAnswers as error:
        raise Unavailable(str(error)) from error


def _request_id(reply: httpx.Response, model: str) -> str:
    """Id of an accepted request. Raises NotAccepted for a 4xx, and MaybeAccepted for any other failure."""
    if reply.is_success:
        try:
            given = reply.json()["request_id"]
        except (ValueError, KeyError, TypeError, RecursionError):
            given = None
        if not is_request_id(given):
            raise MaybeAccepted(f"fal's reply ({reply.status_code}) holds no request_id")
        return given
    text = f"fal answered {reply.status_code}: {error_text(reply)}"
    if reply.status_code == 404:
        text = f"{text}; {not_found_message(model)}"
    asked = retry_after(reply.headers)
    if reply.status_code == 429:
        raise Busy(text).after(asked)
    if reply.status_code in REFUSES_KEY:
        raise KeyRefused("fal", text)
    if 400 <= reply.status_code < 500 and reply.status_code != 408:
        raise Refused(text)
    raise MaybeAccepted(text).after(asked)


def error_text(reply: httpx.Response) -> str:
    """Text of fal's error `detail`, which is a string or a list of {loc, msg}."""
    try:
        detail: Any = reply.json().get("detail", "")
    except (ValueError, AttributeError, RecursionError):
        return reply.text[:300]
    return detail_text(detail)


def detail_text(detail: Any) -> str:
    """Text of a `detail`, at most 600 characters."""
    if isinstance(detail, list) and all(isinstance(each, dict) for each in detail):
        return "; ".join(f"{'.'.join(map(str, d.get('loc', [])))}: {d.get('msg', '')}" for d in detail)[:600]
    return str(detail)[:600]


def _is_gone(reply: httpx.Response) -> bool:
    """True if fal has no result of a completed request: expired, deleted, or moved."""
    return reply.is_redirect or reply.status_code in (404, 410)


def _is_unknown(error: Exception) -> bool:
    """True if fal's queue itself, and not a proxy or a wrong address, answers that it does not know a request."""
    if not isinstance(error, FalClientHTTPError) or error.status_code not in (404, 410):
        return False
    try:
        return bool(error.response.json().get("status") == "NOT_FOUND")
    except (ValueError, AttributeError):
        return False


def _code(error: Exception) -> int | None:
    match error:
        case FalClientHTTPError(status_code=code):
            return code
        case httpx.HTTPStatusError(response=reply):
            return reply.status_code
        case _:
            return None
