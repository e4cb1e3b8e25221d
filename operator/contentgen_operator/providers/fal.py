"""fal.ai's queue API.

fal-client's own `submit` retries the paid POST up to ten times on timeouts, 429 and 5xx (fal-client 1.0.3,
`_async_maybe_retry_request`), and fal supports no idempotency key: one lost reply could be paid ten times. So a plain
httpx client sends one POST and makes the other calls; fal-client's request handle has their URLs. Its parser of a
status needs side fields such as `logs`; here a status needs only `status`.
"""

import asyncio
import re
import ssl
from typing import Any

import fal_client.client
import httpx
from fal_client import AsyncRequestHandle
from fal_client.client import AppId

from contentgen_contract import patterns
from contentgen_contract.resources.models import not_found_message
from contentgen_contract.texts import foreign_text
from contentgen_operator.providers.answers import AnswerFile, TooManyAnswers
from contentgen_operator.providers.base import (
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
from contentgen_operator.providers.refusals import error_text, is_repeatable, json_of, refusal, said
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

_TIMEOUT = httpx.Timeout(60, connect=10)
# Answers about the caller; treating one as a failure of the model would pay for another attempt.
_NOT_ABOUT_THE_RESULT = (401, 402, 403, 408, 409, 425, 429)
_TAG = re.compile(r"[A-Za-z0-9._-]{1,100}")
_UNITS_HEADER = "x-fal-billable-units"  # on a result
_CLIENT_CLOSED = 499  # of a request that was cancelled
_MODEL = re.compile(patterns.MODEL_NAME)
# RecursionError: JSON that is nested too deeply.
_READ_ERRORS = (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError)
_STATES = ("IN_QUEUE", "IN_PROGRESS", "COMPLETED")
_MOST_POSITION = 1_000_000_000
_OK = (200, 201, 203)  # HTTP statuses of a result


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
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._key = key
        self._queue_url = queue_url.rstrip("/")
        self._api_url = api_url.rstrip("/")
        tls = tls or trusted_cas()
        client = httpx.AsyncClient(timeout=timeout, verify=tls, transport=transport)
        self._client = limit_replies_async(client)
        # A reused connection that fal closes during the paid POST would lose the reply, so each POST has a new one.
        fresh = httpx.Limits(max_keepalive_connections=0)
        paying = httpx.AsyncClient(timeout=timeout, verify=tls, limits=fresh, transport=transport)
        self._paying = limit_replies_async(paying)
        self._history = FalHistory(self._client, f"{self._api_url}/v1/models/requests/by-endpoint", self._headers)
        # The handle builds its URLs from this module constant; there is no other setting with a scheme in it.
        fal_client.client.QUEUE_URL_FORMAT = self._queue_url + "/"

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
            text = short_text(error)
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
            reply = await self._client.get(handle.status_url, params={"logs": False})
            if _is_unknown(reply):
                return await self._kept(model, request_id, UNKNOWN)
            reply.raise_for_status()
            status = _status(reply)
            match _state(status):
                case "IN_QUEUE":
                    return RequestView(state=RequestState.QUEUED, message=f"in fal's queue{_position(status)}")
                case "IN_PROGRESS":
                    return RequestView(state=RequestState.RUNNING, message="running at fal")
                case "COMPLETED":
                    return await self._result(model, handle, _reported_error(status))
                case other:
                    raise ValueError(f"its status is {other}")
        except _READ_ERRORS as error:
            raise read_error("fal", f"fal could not be read: {short_text(error)}", _code(error)) from error

    async def _result(self, model: str, handle: AsyncRequestHandle, error: str) -> RequestView:
        """View of an ended request, by its result; `error` is that of its status, empty: it has none."""
        async with self._client.stream("GET", handle.response_url, extensions=reply_limit(ANSWER_BYTES)) as reply:
            if reply.status_code in _OK:
                return await _succeeded(reply, error)
            await reply.aread()
        code = reply.status_code
        if code in _NOT_ABOUT_THE_RESULT or reply.is_success or (code >= 500 and not error):
            raise read_error("fal", f"fal's result answered {code}", code)
        if not error and _is_gone(reply):
            return await self._kept(model, handle.request_id, GONE)
        return _failed(reply, error_text(reply) or error)

    async def _kept(self, model: str, request_id: str, otherwise: RequestView) -> RequestView:
        """Result from fal's history: the queue keeps it for minutes, the history for 30 days."""
        entry = await self._history.entry(model, request_id) or {}
        output, code = entry.get("json_output"), _http_status(entry.get("status_code"))
        if isinstance(output, dict) and output and (code == 200 or (code is None and "detail" not in output)):
            return RequestView(state=RequestState.SUCCEEDED, result=_answer(output))
        if code is not None and code >= 400:
            again = is_repeatable(code, output)
            message = foreign_text(said(output)) or f"it ended with {code}"
            return _failed_view(code, None, message, reported=False, repeatable=again)
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


def _status(reply: httpx.Response) -> dict[str, Any]:
    """The JSON object of a status. Raises ValueError."""
    document = json_of(reply.content)
    if not isinstance(document, dict):
        raise ValueError("its status is not a JSON object")
    return document


def _state(status: dict[str, Any]) -> str:
    """State in a status, one of `_STATES`; any other value as text, for people."""
    given = status.get("status")
    if given is None:
        return "missing"
    if not isinstance(given, str) or not given.strip():
        return foreign_text(ascii(given), 60)
    known = given.strip().upper()
    return known if known in _STATES else foreign_text(given, 60)


def _position(status: dict[str, Any]) -> str:
    position = status.get("queue_position")
    known = isinstance(position, int) and not isinstance(position, bool) and 0 <= position < _MOST_POSITION
    return f", position {position}" if known else ""


def _reported_error(status: dict[str, Any]) -> str:
    """Text of the `error` of a status; empty: none. Only the result tells whether the request has failed."""
    error = status.get("error")
    return foreign_text(said(error)) if isinstance(error, str | dict | list) else ""


def _http_status(given: object) -> int | None:
    """An HTTP status in a history; None if it is not one."""
    if not isinstance(given, int | float) or isinstance(given, bool):
        return None
    return int(given) if 100 <= given < 600 else None


async def _succeeded(reply: httpx.Response, error: str) -> RequestView:
    """View of a result that was read; also where the status has an `error`, since fal gives that as the result."""
    units = billable_units(reply.headers.get(_UNITS_HEADER, ""))
    try:
        return RequestView(state=RequestState.SUCCEEDED, result=await read_answer(reply), billable_units=units)
    except ReplyTooLarge:
        return TOO_LARGE.model_copy(update={"billable_units": units})
    except TooManyAnswers:
        raise
    except ValueError:
        if not error:
            raise
        return _failed_view(reply.status_code, units, error, reported=False, repeatable=True)


def _failed(reply: httpx.Response, message: str) -> RequestView:
    """Failed request from its result's reply; fal bills no server error, but may bill a 422 that used GPU time."""
    units = billable_units(reply.headers.get(_UNITS_HEADER, ""))
    reported = reply.headers.get("x-fal-error-type") == "client_cancelled"
    again = is_repeatable(reply.status_code, json_of(reply.content), reply.headers)
    return _failed_view(reply.status_code, units, message, reported=reported, repeatable=again)


def _failed_view(code: int, units: float | None, message: str, *, reported: bool, repeatable: bool) -> RequestView:
    """Failed request with these billable units; `reported`: fal reports it as cancelled."""
    cancelled = reported or code == _CLIENT_CLOSED or "cancelled" in message[:200].lower()
    free = 0.0 if units is None and code >= 500 else units
    return RequestView(
        state=RequestState.FAILED,
        message=message,
        billable_units=free,
        cancelled=cancelled,
        repeatable=repeatable or cancelled,
    )


def _answer(output: dict[str, Any]) -> AnswerFile:
    try:
        return AnswerFile.of(output)
    except TooManyAnswers as error:
        raise Unavailable(str(error)) from error


def _request_id(reply: httpx.Response, model: str) -> str:
    """Id of an accepted request. Raises NotAccepted or MaybeAccepted."""
    if reply.is_success:
        document = json_of(reply.content)
        given = document.get("request_id") if isinstance(document, dict) else None
        if not is_request_id(given):
            raise MaybeAccepted(f"fal's reply ({reply.status_code}) holds no request_id")
        return given
    error = refusal("fal", "fal", reply)
    if reply.status_code == 404:
        raise Refused(f"{error}; {not_found_message(model)}")
    raise error


def _is_gone(reply: httpx.Response) -> bool:
    """True if fal has no result of a completed request: expired, deleted or moved; or if a proxy's page refuses it."""
    return reply.is_redirect or reply.status_code in (404, 410) or json_of(reply.content) is None


def _is_unknown(reply: httpx.Response) -> bool:
    """True if fal's queue itself, and not a proxy or a wrong address, answers that it does not know a request."""
    if reply.status_code not in (404, 410):
        return False
    document = json_of(reply.content)
    return isinstance(document, dict) and document.get("status") == "NOT_FOUND"


def _code(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
