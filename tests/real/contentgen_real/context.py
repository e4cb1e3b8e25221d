"""Context of a step: checked clients, the journal, inputs and notes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx

from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.base import Unavailable
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_real.checked import AnswerChecks, CheckedTransport
from contentgen_real.journal import Journal, RecordedRequest
from contentgen_real.place import ASSEMBLYAI, FAL, ProviderPlace

T = TypeVar("T")
_TIMEOUT = httpx.Timeout(60, connect=10)
_ACCEPTED = 200
_FAILED_READS = 20  # in succession


class StepFailed(Exception):
    """A step cannot go on; the message has neither a key nor a signed URL."""


class StepSkipped(Exception):
    """A step lacks something that an earlier step provides."""


@dataclass(frozen=True)
class StepContext:
    """Clients and records of a run; `say` prints one line."""

    place: ProviderPlace
    journal: Journal
    checks: AnswerChecks
    http: httpx.AsyncClient
    fal: Fal
    assemblyai: AssemblyAI
    say: Callable[[str], None]

    def note(self, text: str) -> None:
        """Print what a step has found."""
        self.say(f"   {text}")

    def expect(self, where: str, path: str, expected: object, found: object) -> None:
        """A difference if two values are not equal. Neither may be a URL, a key or a text of others."""
        self.checks.expect(where, path, expected, found)

    async def fal_get(self, path: str, query: Mapping[str, Any], key: str | None = None) -> httpx.Response:
        """GET of fal's platform API below /v1. Raises httpx.HTTPError."""
        return await self.http.get(f"{self.place.fal_api}/v1/{path}", params=query, headers=self._fal_key(key))

    async def fal_queue(self, method: str, path: str, key: str | None = None) -> httpx.Response:
        """Request to fal's queue that buys nothing. Raises httpx.HTTPError."""
        return await self.http.request(method, f"{self.place.fal_queue}/{path}", headers=self._fal_key(key))

    async def fal_post(self, step: str, model: str, body: Mapping[str, Any], key: str | None = None) -> httpx.Response:
        """One POST, which may be paid and is never repeated; an accepted one is recorded. Raises httpx.HTTPError."""
        sent_after = datetime.now(UTC)
        headers = self._fal_key(key) | {"x-fal-no-retry": "1"}
        reply = await self.http.post(f"{self.place.fal_queue}/{model}", json=body, headers=headers)
        self._record(step, "fal", model, reply, "request_id", json.dumps(body), sent_after)
        return reply

    async def assemblyai_get(self, path: str, query: Mapping[str, Any], key: str | None = None) -> httpx.Response:
        """GET of AssemblyAI's API. Raises httpx.HTTPError."""
        headers = {"authorization": key or self.place.key(ASSEMBLYAI)}
        return await self.http.get(f"{self.place.assemblyai}/v2/{path}", params=query, headers=headers)

    async def assemblyai_post(self, step: str, body: Mapping[str, Any]) -> httpx.Response:
        """One POST of a transcript, which may be paid and is never repeated; an accepted one is recorded. Raises
        httpx.HTTPError.
        """
        sent_after = datetime.now(UTC)
        headers = {"authorization": self.place.key(ASSEMBLYAI)}
        reply = await self.http.post(f"{self.place.assemblyai}/v2/transcript", json=body, headers=headers)
        self._record(step, "assemblyai", "", reply, "id", "{}", sent_after)
        return reply

    def _record(  # noqa: PLR0917 - the fields of a record
        self, step: str, provider: str, model: str, reply: httpx.Response, name: str, arguments: str, after: datetime
    ) -> None:
        if reply.status_code == _ACCEPTED and isinstance(request_id := fields(reply).get(name), str):
            self.journal.add(RecordedRequest(step, provider, model, request_id, arguments, after, datetime.now(UTC)))

    def _fal_key(self, key: str | None) -> dict[str, str]:
        return {"Authorization": f"Key {key or self.place.key(FAL)}"}

    async def until(self, what: str, look: Callable[[], Awaitable[T | None]], seconds: float) -> T:
        """The first value that is not None. Some reads in succession may fail, because what is waited for was paid.

        Raises StepFailed after this many seconds, and the last error of too many failed reads.
        """
        deadline, failures = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            try:
                found = await look()
                failures = 0
            except (Unavailable, httpx.TransportError):
                found, failures = None, failures + 1
                if failures > _FAILED_READS:
                    raise
            if found is not None:
                return found
            await asyncio.sleep(self.place.pause)
        raise StepFailed(f"{what}: not within {seconds:.0f} s")


def fields(reply: httpx.Response) -> dict[str, Any]:
    """JSON object of a reply; empty if it is none."""
    try:
        document = reply.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


@asynccontextmanager
async def opened_context(
    place: ProviderPlace,
    journal: Journal,
    checks: AnswerChecks,
    say: Callable[[str], None],
    transport: httpx.MockTransport | None = None,
) -> AsyncIterator[StepContext]:
    """Context whose clients never retry; `transport` replaces the network."""
    # A client with a transport of its own ignores the environment's proxies.
    proxy = None if place.stand_ins else place.key("HTTPS_PROXY") or place.key("https_proxy") or None
    network, plain_network = httpx.AsyncHTTPTransport(proxy=proxy), httpx.HTTPTransport(proxy=proxy)
    checked = CheckedTransport(checks, transport or network, transport or plain_network)
    with TemporaryDirectory() as name:
        folder = Path(name)
        fal_key, assemblyai_key = (
            _key_file(folder / provider, place.key(variable))
            for provider, variable in (("fal", FAL), ("assemblyai", ASSEMBLYAI))
        )
        fal = Fal(fal_key, place.fal_queue, place.fal_api, transport=checked)
        assemblyai = AssemblyAI(assemblyai_key, place.assemblyai, transport=checked)
        async with httpx.AsyncClient(timeout=_TIMEOUT, transport=checked) as client:
            yield StepContext(place, journal, checks, client, fal, assemblyai, say)
        await fal.close()


def _key_file(path: Path, key: str) -> KeyFile:
    path.touch(mode=0o600)
    path.write_text(key)
    return KeyFile(str(path))
