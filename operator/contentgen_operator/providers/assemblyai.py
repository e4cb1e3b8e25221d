"""AssemblyAI's transcription API, through its SDK's plain calls: each is one HTTP request, none is retried."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import assemblyai as aai
import httpx
from assemblyai.prerecorded.v2 import api

from contentgen_operator.providers.answers import ANSWER_BYTES, REPLY_BYTES, Answer
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
    checked_request_id,
    is_request_id,
    names_key,
    needed,
    unreadable,
)
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.limits import ReplyTooLarge, large, limited, received_now

T = TypeVar("T")
_STATES = {"queued": RequestState.QUEUED, "processing": RequestState.RUNNING}


class AssemblyAI:
    """`url` is the API's base. The SDK is synchronous, so its calls run in threads."""

    name = "assemblyai"

    def __init__(self, key: KeyFile, url: str, timeout: float = 30) -> None:
        self._key = key
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._client: aai.Client | None = None

    @property
    def configured(self) -> bool:
        """Whether there is a key."""
        return self._key.read() is not None

    async def submit(self, call: Call, before_send: Callable[[], Awaitable[None]]) -> str:
        """One POST of /v2/transcript."""
        try:
            request = aai.types.TranscriptRequest(**call.arguments)
        except ValueError as error:
            raise Refused(f"AssemblyAI takes no such request: {str(error).split('?')[0][:300]}") from error
        needed(self._key, self.name, KeyRefused)
        await before_send()
        try:
            answer = await self._in_thread(KeyRefused, lambda http: api.create_transcript(http, request))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Busy(f"AssemblyAI could not be reached: {str(error) or type(error).__name__}") from error
        except httpx.HTTPError as error:
            raise MaybeAccepted(f"AssemblyAI's reply was lost: {str(error) or type(error).__name__}") from error
        except aai.types.AssemblyAIError as error:
            raise _verdict(error) from error
        except ValueError as error:  # an answer that is no transcript: it came after the request was taken
            raise MaybeAccepted("AssemblyAI's reply could not be read") from error
        if not is_request_id(answer.id):
            raise MaybeAccepted("AssemblyAI's reply holds no id")
        return answer.id

    async def poll(self, model: str, request_id: str) -> RequestView:  # noqa: ARG002 - one model
        """One GET of the transcript, as the whole JSON document that is stored later."""
        return await self._read(lambda http: _view(http, f"/v2/transcript/{checked_request_id(request_id)}"))

    async def cancel(self, model: str, request_id: str) -> bool:  # noqa: ARG002 - the API has no cancellation
        """AssemblyAI cannot: what is paid goes on, and whoever asks for the same later is given it."""
        return False

    async def find(self, search: Search) -> Found:
        """AssemblyAI lists requests from the moment it has them, newest first."""
        parameters = aai.types.ListTranscriptParameters(limit=100)
        listed = await self._read(lambda http: api.list_transcripts(http, parameters))
        found = (str(item.id) for item in listed.transcripts if names_key(str(item.audio_url), search.call.marker))
        return Found(
            request_id=next((each for each in found if is_request_id(each) and each not in search.claimed), None),
            complete=True,
        )

    async def _read(self, call: Callable[[httpx.Client], T]) -> T:
        try:
            return await self._in_thread(AccessRefused, call)
        except (httpx.HTTPError, aai.types.AssemblyAIError, ValueError) as error:
            text = f"AssemblyAI could not be asked: {str(error).split('?')[0][:300]}"
            raise unreadable("assemblyai", text, _code(error)) from error

    async def _in_thread(self, refused: type[KeyRefused | AccessRefused], call: Callable[[httpx.Client], T]) -> T:
        key = needed(self._key, self.name, refused)
        return await asyncio.to_thread(call, self._connected(key).http_client)

    def _connected(self, key: str) -> aai.Client:
        """The SDK's client for this key: to make one loads every CA certificate, and takes 50 ms."""
        if self._client is None or self._client.settings.api_key != key:
            settings = aai.Settings(
                api_key=key,
                base_url=self._url,
                http_timeout=self._timeout,
                keepalive_expiry=0,  # a paid POST is not sent on a connection that the other side may have closed
            )
            self._client = aai.Client(settings=settings)
            limited(self._client.http_client)
        return self._client


def _view(http: httpx.Client, path: str) -> RequestView:
    # The SDK's own read drops fields that it does not know; transcript.json is promised to be the full answer.
    try:
        with http.stream("GET", path, extensions=large(ANSWER_BYTES)) as reply:
            reply.raise_for_status()
            answer = received_now(reply)
    except ReplyTooLarge:
        return TOO_LARGE
    status = answer.status()
    if status == "completed":
        return RequestView(state=RequestState.SUCCEEDED, result=answer)
    if status == "error":
        return RequestView(state=RequestState.FAILED, message=_error(answer))
    return RequestView(state=_STATES.get(status, RequestState.RUNNING), message=f"{status} at AssemblyAI")


def _error(answer: Answer) -> str:
    return str(json.loads(answer.read()).get("error", ""))[:600] if answer.size <= REPLY_BYTES else "no reason is given"


def _code(error: Exception) -> int | None:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code
    return getattr(error, "status_code", None)


def _verdict(error: aai.types.AssemblyAIError) -> Exception:
    code = _code(error)
    text = f"AssemblyAI answered {code}: {str(error).split('?')[0][:300]}"
    if code == 429:
        return Busy(text)
    if code in REFUSES_KEY:
        return KeyRefused("assemblyai", text)
    if code is not None and 400 <= code < 500 and code != 408:
        return Refused(text)
    return MaybeAccepted(text)
