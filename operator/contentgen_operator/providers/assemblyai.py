"""AssemblyAI's transcription API: one HTTP request per call, without retries.

Its SDK checks the request and writes it as JSON. Its parser of a reply needs more fields than the id, without which a
paid request would be lost, so the replies are read here.
"""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeGuard, TypeVar
from urllib.parse import parse_qs, urlsplit

import assemblyai as aai
import httpx

from contentgen_contract import patterns
from contentgen_contract.texts import foreign_text
from contentgen_operator.clock import parse_time
from contentgen_operator.providers.answers import AnswerFile
from contentgen_operator.providers.base import (
    AccessRefused,
    Busy,
    KeyRefused,
    MaybeAccepted,
    Refused,
    checked_request_id,
    is_cursor,
    key_id,
    read_error,
    required_key,
    short_text,
)
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.limits import (
    HISTORY_BYTES,
    ReplyTooLarge,
    limit_replies,
    read_answer_sync,
    reply_limit,
)
from contentgen_operator.providers.network import trusted_cas
from contentgen_operator.providers.refusals import error_text, json_of, refusal, said
from contentgen_operator.providers.sending import BeforeSend, SendStopped, ThreadGate
from contentgen_operator.state.provider_requests import (
    ANSWER_BYTES,
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
    same_input,
)

MARGIN = timedelta(minutes=2)  # of AssemblyAI's clock from ours
_DELETED = "http://deleted_by_user"  # replaces an input that a person has deleted
_MAX_PAGES = 100  # pages of 200 transcripts per search
_MAX_READS = 20  # reads of single transcripts per search
T = TypeVar("T")
_LONGEST_NAME = 64  # of a model
_NEGATIVE_BALANCE = 400  # documented for it, with a text and no code
_UNKNOWN_ID = 400  # to a GET by id, which has nothing else that could be wrong
_NOT_COMPARED = ("speech_models",)  # a value of the site, which may have changed since; a retired model is replaced
_STATES = {"queued": RequestState.QUEUED, "processing": RequestState.RUNNING}
_NO_TRANSCRIPT = (ValueError, RecursionError)  # an answer that is not JSON, not a transcript, or nested too deeply


class AssemblyAI:
    """Client of AssemblyAI at the base `url`; `tls` has the CAs. The SDK is synchronous, so calls run in threads."""

    name = "assemblyai"

    def __init__(
        self,
        key: KeyFile,
        url: str,
        timeout: float = 30,
        tls: ssl.SSLContext | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._key = key
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._tls = tls or trusted_cas()
        self._transport = transport
        self._client: tuple[str, httpx.Client] | None = None

    @property
    def configured(self) -> bool:
        """True if there is a key."""
        return self._key.read() is not None

    @property
    def key_id(self) -> str | None:
        """See Provider."""
        return key_id(self._key, self.name)

    async def submit(self, call: Call, before_send: BeforeSend) -> str:
        """One POST of /v2/transcript."""
        try:
            request = aai.types.TranscriptRequest(**call.arguments)
        except ValueError as error:
            raise Refused(f"AssemblyAI does not accept the request: {short_text(error)}") from error
        key, gate = required_key(self._key, self.name, KeyRefused), ThreadGate(before_send)
        try:
            reply = await asyncio.to_thread(self._post, key, gate, request)
        except SendStopped as stopped:
            raise stopped.cause from None
        except httpx.HTTPError as error:
            text = short_text(error)
            if gate.opened:
                raise MaybeAccepted(f"AssemblyAI's reply was lost: {text}") from error
            raise Busy(f"AssemblyAI could not be reached: {text}") from error
        except _NO_TRANSCRIPT as error:  # before the POST the arguments are invalid
            if gate.opened:
                raise MaybeAccepted("AssemblyAI's reply could not be read") from error
            raise Refused(f"AssemblyAI does not accept the request: {type(error).__name__}") from error
        finally:
            gate.close()
        return _request_id(reply)

    def _post(self, key: str, gate: ThreadGate, request: aai.types.TranscriptRequest) -> httpx.Response:
        """One POST by a new client: a reused connection may be about to close."""
        with self._new_client(key) as paying:
            body = request.dict(exclude_none=True, by_alias=True)
            return paying.post("/v2/transcript", json=body, extensions={"trace": gate.trace})

    async def poll(self, model: str, request_id: str) -> RequestView:  # noqa: ARG002 - one model
        """One GET of the transcript; the result is the whole JSON document."""
        return await self._read(lambda http: _view(http, f"/v2/transcript/{checked_request_id(request_id)}"))

    async def cancel(self, model: str, request_id: str) -> bool:  # noqa: ARG002 - the API has no cancellation
        """Always False: AssemblyAI has no cancellation, so the paid request goes on and may be adopted later."""
        return False

    async def find(self, search: Search) -> Found:
        """One search of AssemblyAI's list: newest first, includes running requests, omits most of the input."""
        return await self._read(lambda http: _find(http, search))

    async def verify(self, search: Search, request_id: str) -> Verified:
        """Comparison with the list, which has the time, and with the transcript."""
        asked = checked_request_id(request_id)
        return await self._read(lambda http: _verify(http, search, asked))

    async def _read(self, call: Callable[[httpx.Client], T]) -> T:
        try:
            return await self._in_thread(AccessRefused, call)
        except (httpx.HTTPError, httpx.InvalidURL, *_NO_TRANSCRIPT) as error:
            text = f"AssemblyAI could not be read: {short_text(error)}"
            raise read_error("assemblyai", text, _code(error)) from error

    async def _in_thread(self, refused: type[KeyRefused | AccessRefused], call: Callable[[httpx.Client], T]) -> T:
        key = required_key(self._key, self.name, refused)
        return await asyncio.to_thread(call, self._connected(key))

    def _connected(self, key: str) -> httpx.Client:
        """HTTP client for this key; the SDK's own client accepts no private CAs."""
        if self._client is None or self._client[0] != key:
            self._client = (key, self._new_client(key))
        return self._client[1]

    def _new_client(self, key: str) -> httpx.Client:
        return limit_replies(
            httpx.Client(
                base_url=self._url,
                headers={"authorization": key},
                timeout=self._timeout,
                verify=self._tls,
                limits=httpx.Limits(max_keepalive_connections=0),
                transport=self._transport,
            )
        )


def _find(http: httpx.Client, search: Search) -> Found:
    """Transcript of this audio and these options, not `taken`, that was created nearest to `sent_after`."""
    made, complete = _created_in_time(http, search)
    nearest_first = sorted(made, key=lambda each: abs(made[each] - search.sent_after))
    for request_id in nearest_first[:_MAX_READS]:
        same = _is_same(http, request_id, search.call.arguments)
        if same:
            return Found(request_id=request_id, complete=complete)
        complete = complete and same is not None
    return Found(request_id=None, complete=complete and len(made) <= _MAX_READS)


def _verify(http: httpx.Client, search: Search, request_id: str) -> Verified:
    made, complete = _created_in_time(http, search)
    if request_id in made:
        same = _is_same(http, request_id, search.call.arguments)
        text = "" if same else "its options differ" if same is False else "it is too large to be compared"
        return Verified(same=same, text=text)
    if complete:
        return Verified(same=False, text="AssemblyAI lists no transcript of this id with this audio at that time")
    return Verified(same=None, text="AssemblyAI's list could be read only in part")


def _created_in_time(http: httpx.Client, search: Search) -> tuple[dict[str, datetime], bool]:
    """Transcripts of this audio, not `taken`, with their creation times; True if the list was complete."""
    start, made, complete = search.sent_after - MARGIN, dict[str, datetime](), True
    before: str | None = None
    for _ in range(_MAX_PAGES):
        page, older, has_next = _page(http, before)
        moments = [parse_time(item.get("created")) for item in page]
        for item, at in zip(page, moments, strict=True):
            named, sound = item.get("id"), item.get("audio_url")
            if at is not None and not start <= at <= search.sent_before:
                continue
            if isinstance(named, str) and named in search.taken:
                continue
            if at is None or not isinstance(sound, str) or sound == _DELETED or not isinstance(named, str):
                complete = False
            elif is_request_id(named) and same_input(search.call.arguments.get("audio_url"), sound):
                made[named] = at
        if older is None or (page and all(at is not None and at < start for at in moments)):
            return made, complete and has_next
        if older == before:
            break
        before = older
    return made, False


def _page(http: httpx.Client, before: str | None) -> tuple[list[dict[str, Any]], str | None, bool]:
    """Page of the list (an item that is no object is an empty one), and the `before_id` of the next page, None at the
    end; False: the reply does not tell where the next page is.
    """
    asked = {"limit": "200"} | ({"before_id": before} if before else {})
    reply = http.get("/v2/transcript", params=asked, extensions=reply_limit(HISTORY_BYTES))
    reply.raise_for_status()
    listed = json_of(reply.content)
    items = listed.get("transcripts") if isinstance(listed, dict) else None
    if not isinstance(items, list):
        raise ValueError("AssemblyAI's list could not be read")
    page = [item if isinstance(item, dict) else {} for item in items]
    details = listed.get("page_details")
    try:
        older = parse_qs(urlsplit(details["prev_url"] or "").query).get("before_id")
    except (LookupError, TypeError, ValueError, AttributeError):
        return page, None, False
    if older and not is_cursor(older[0]):
        return page, None, False
    return page, older[0] if older else None, True


def _is_same(http: httpx.Client, request_id: str, asked: dict[str, Any]) -> bool | None:
    """True if a transcript has these options, as far as it lists them; None if it is too large to be read."""
    try:
        with http.stream("GET", f"/v2/transcript/{request_id}", extensions=reply_limit(ANSWER_BYTES)) as reply:
            reply.raise_for_status()
            answer = read_answer_sync(reply)
    except ReplyTooLarge:
        return None
    with contextlib.closing(answer):
        listed = {name: answer.field(name) for name in asked if name not in _NOT_COMPARED}
    known = {name: value for name, value in listed.items() if value is not None}
    return same_input({name: asked[name] for name in known}, known)


def _view(http: httpx.Client, path: str) -> RequestView:
    # The SDK drops fields that it does not know, but transcript.json is documented as the full answer.
    try:
        with http.stream("GET", path, extensions=reply_limit(ANSWER_BYTES)) as reply:
            if reply.status_code == _UNKNOWN_ID:
                return UNKNOWN
            reply.raise_for_status()
            answer = read_answer_sync(reply)
    except ReplyTooLarge:
        return TOO_LARGE
    status = answer.status()
    if status == "completed":
        used, seconds = answer.field("speech_model_used"), billable_units(answer.field("audio_duration"))
        return RequestView(
            state=RequestState.SUCCEEDED,
            result=answer,
            billable_units=seconds,
            model_used=used if _is_name(used) else "",
        )
    if status == "error":
        return _failed(answer)
    if status in _STATES:
        return RequestView(state=_STATES[status], message=f"{status} at AssemblyAI")
    return RequestView(
        state=RequestState.RUNNING, message=f"its status at AssemblyAI is {foreign_text(status, 60) or 'missing'}"
    )


def _failed(answer: AnswerFile) -> RequestView:
    """An error, which AssemblyAI does not bill; that of a recording without speech is an empty transcript."""
    if re.search(patterns.NO_SPEECH, said(answer.field("error"))):
        return RequestView(state=RequestState.SUCCEEDED, result=answer, billable_units=0)
    return RequestView(state=RequestState.FAILED, message=_error(answer), billable_units=0)


def _is_name(given: object) -> TypeGuard[str]:
    return (
        isinstance(given, str) and re.fullmatch(patterns.MODEL_NAME, given) is not None and len(given) <= _LONGEST_NAME
    )


def _error(answer: AnswerFile) -> str:
    return foreign_text(said(answer.field("error"))) or "no reason is given"


def _code(error: Exception) -> int | None:
    return error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None


def _request_id(reply: httpx.Response) -> str:
    """Id of an accepted transcript. Raises NotAccepted or MaybeAccepted."""
    if reply.is_success:
        document = json_of(reply.content)
        given = document.get("id") if isinstance(document, dict) else None
        if not is_request_id(given):
            raise MaybeAccepted(f"AssemblyAI's reply ({reply.status_code}) holds no id")
        return given
    if reply.status_code == _NEGATIVE_BALANCE and "account balance" in error_text(reply):
        raise KeyRefused("assemblyai", f"AssemblyAI answered {reply.status_code}: {error_text(reply)}")
    raise refusal("assemblyai", "AssemblyAI", reply)
