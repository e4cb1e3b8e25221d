"""Transport that compares each answer of a provider with the facts, and keeps its shape.

The operator's adapters and the steps' own requests both use it, so no step can leave an answer uncompared.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from contentgen_real.conformance import ReceivedAnswer, ShapeDifference, answer_differences, strict, type_name
from contentgen_real.place import ProviderPlace
from contentgen_simulation.facts import PublishedFacts

_FRAMING = ("content-encoding", "content-length", "transfer-encoding")


@dataclass
class AnswerChecks:
    """Differences and shapes of all answers of a run. `step` is the one that runs; `models` are those of the requests
    by id, whose results have schemas of their own.
    """

    place: ProviderPlace
    step: str = ""
    differences: list[ShapeDifference] = field(default_factory=list)
    shapes: dict[str, list[Any]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    headers: dict[str, Mapping[str, str]] = field(default_factory=dict)  # of the last result, by request id
    _facts: dict[str, PublishedFacts] = field(default_factory=dict)

    def add(self, request: httpx.Request, reply: httpx.Response) -> None:
        """Compare one answer; requests to other addresses, such as downloads, are ignored."""
        url = str(request.url.copy_with(query=None))
        places = {
            self.place.fal_queue: ("fal/platform.json", "https://queue.fal.run"),
            self.place.fal_api: ("fal/platform.json", "https://api.fal.ai"),
            self.place.assemblyai: ("assemblyai/transcript.json", "https://api.assemblyai.com"),
        }
        for base, (path, documented) in places.items():
            if url.startswith(f"{base}/"):
                self._compare(self._load(path), request.method, documented + url.removeprefix(base), reply)
                return

    def _compare(self, facts: PublishedFacts, method: str, url: str, reply: httpx.Response) -> None:
        try:
            name = facts.endpoint(method, url)
        except LookupError:
            self.expect(f"{facts.path} {method}", "$", "a documented endpoint", "another")
            return
        body, status = _json(reply), reply.status_code
        output = None
        if name == "submit" and reply.is_success and isinstance(body, dict):
            self.models[str(body.get("request_id"))] = url.removeprefix("https://queue.fal.run/")
        if name == "result":
            request_id = url.rpartition("/")[2]
            self.headers[request_id] = dict(reply.headers)
            output = self._output(self.models.get(request_id, ""))
        answer = ReceivedAnswer(status, reply.headers, body, output)
        self.differences += answer_differences(facts, name, answer)
        self._keep(f"{facts.path.partition('/')[0]}-{name}-{status}", reply, body)

    def expect(self, where: str, path: str, expected: object, found: object) -> None:
        """Add a difference if two values are not equal."""
        if expected != found:
            self.differences.append(ShapeDifference(where, path, str(expected), str(found)))

    def _output(self, model: str) -> PublishedFacts | None:
        try:
            return self._load(f"fal/models/{model.replace('/', '--')}.json") if model else None
        except OSError:
            return None

    def _load(self, path: str) -> PublishedFacts:
        if path not in self._facts:
            self._facts[path] = strict(path)
        return self._facts[path]

    def _keep(self, name: str, reply: httpx.Response, body: object) -> None:
        seen = {"headers": sorted(reply.headers.keys()), "body": shape(body)}
        kept = self.shapes.setdefault(f"{self.step}-{name}", [])
        if seen not in kept:
            kept.append(seen)

    def write(self, folder: Path) -> None:
        """Write the shapes, one file per step, endpoint and status, each by an atomic replacement. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, seen in self.shapes.items():
            path = folder / f"{name}.json"
            new = path.with_suffix(".new")
            new.write_text(json.dumps({"seen": f"{datetime.now(UTC):%Y-%m-%d}", "answers": seen}, indent=2) + "\n")
            new.replace(path)


class CheckedTransport(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """Transport for async and synchronous clients, around another one of each."""

    def __init__(
        self, checks: AnswerChecks, async_transport: httpx.AsyncBaseTransport, transport: httpx.BaseTransport
    ) -> None:
        self._checks = checks
        self._async = async_transport
        self._sync = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises httpx.TransportError."""
        reply = await self._async.handle_async_request(request)
        await reply.aread()
        await reply.aclose()
        return self._whole(request, reply)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises httpx.TransportError."""
        reply = self._sync.handle_request(request)
        reply.read()
        reply.close()
        return self._whole(request, reply)

    def _whole(self, request: httpx.Request, reply: httpx.Response) -> httpx.Response:
        self._checks.add(request, reply)
        headers = [(name, value) for name, value in reply.headers.multi_items() if name not in _FRAMING]
        # A stream, as from the network: the adapters read replies piece by piece.
        stream = httpx.ByteStream(reply.content)
        return httpx.Response(reply.status_code, headers=headers, stream=stream, extensions=reply.extensions)

    async def aclose(self) -> None:
        """Close the connections of async clients."""
        await self._async.aclose()

    def close(self) -> None:
        """Close the connections of synchronous clients."""
        self._sync.close()


def shape(value: Any) -> Any:
    """JSON value with types in place of values, so that no prompt, URL or key is written to a file."""
    match value:
        case dict():
            return {name: shape(value[name]) for name in sorted(value)}
        case list():
            return [shape(element) for element in value[:1]]
        case _:
            return type_name(value)


def _json(reply: httpx.Response) -> object:
    try:
        return reply.json()
    except ValueError:
        return None
