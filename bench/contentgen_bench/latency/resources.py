"""Resources of the benchmark, and a watch that records when each reached a phase."""

import contextlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from contentgen_bench.latency.api import Api
from contentgen_bench.latency.environment import NAMESPACE
from contentgen_contract.names import API_VERSION, GROUP, VERSION, Kind

Body = dict[str, Any]
_CONNECTIONS = 8


def spec_of(kind: Kind, name: str) -> Body:
    """Small spec; each name is another purchase."""
    match kind:
        case Kind.LORA_TRAINING:
            return {
                "loraName": name.replace("-", "_"),
                "triggerWord": "jf",
                "source": {"url": f"https://example.com/{name}.mp4"},
                "dataset": {"minImages": 4},
                "metadata": {"tags": ["avatar", "headshot"], "description": "Jesse professional headshot avatar"},
            }
        case Kind.IMAGE_GENERATION:
            size = {"width": 256, "height": 256}
            return {"model": "flux-dev", "prompt": f"a lighthouse at dusk, {name}", "image": {"size": size}}
        case Kind.TRANSCRIPTION:
            return {"source": {"url": f"https://example.com/{name}.mp3"}, "options": {"speakerLabels": True}}


def path_of(kind: Kind) -> str:
    """API path of a kind's resources."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/{kind.plural}"


class BenchResources:
    """Creation, reading and deletion of resources, eight requests at a time."""

    def __init__(self, api: Api) -> None:
        self._client = api.client()
        self._pool = ThreadPoolExecutor(_CONNECTIONS)

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        self._client.close()

    def apply(self, wanted: Sequence[tuple[Kind, str]]) -> list[Body]:
        """Create resources; returns them as stored."""
        return list(self._pool.map(lambda each: self._create(*each), wanted))

    def finished(self, wanted: Sequence[tuple[Kind, str]], like: dict[Kind, Body]) -> None:
        """Create resources with the status of a finished one of their kind, adapted to their uid."""

        def make(each: tuple[Kind, str]) -> None:
            kind, name = each
            body = self._create(kind, name)
            old, new = like[kind]["metadata"]["uid"], body["metadata"]["uid"]
            body["status"] = json.loads(json.dumps(like[kind]["status"]).replace(old, new))
            self._send("PUT", f"{path_of(kind)}/{name}/status", body)

        for _ in self._pool.map(make, wanted):
            pass

    def get(self, kind: Kind, name: str) -> Body:
        """Read a resource."""
        return self._send("GET", f"{path_of(kind)}/{name}")

    def apply_spec(self, kind: Kind, name: str, spec: Body) -> Body:
        """Create one resource."""
        meta = {"name": name, "namespace": NAMESPACE}
        body = {"apiVersion": API_VERSION, "kind": kind.value, "metadata": meta, "spec": spec}
        return self._send("POST", path_of(kind), body)

    def _create(self, kind: Kind, name: str) -> Body:
        return self.apply_spec(kind, name, spec_of(kind, name))

    def _send(self, method: str, path: str, body: Body | None = None) -> Body:
        content = json.dumps(body) if body is not None else None
        answer = self._client.request(method, path, content=content, headers={"Content-Type": "application/json"})
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        read: Body = answer.json()
        return read


class Watcher:
    """Context manager that records when a watch first delivered each phase of each resource."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._seen: dict[str, dict[str, float]] = defaultdict(dict)
        self._closed = threading.Event()

    def __enter__(self) -> "Watcher":
        for kind in Kind:
            threading.Thread(target=self._watch, args=(kind,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    def at(self, name: str, phase: str) -> float | None:
        """Time at which a phase was first seen, in seconds since 1970."""
        return self._seen.get(name, {}).get(phase)

    def first(self, name: str) -> float | None:
        """Time at which the first status was seen."""
        return min(list(self._seen.get(name, {}).values()), default=None)

    def counts(self, names: Sequence[str]) -> dict[str, int]:
        """Number of these resources that have reached each phase."""
        found: dict[str, int] = defaultdict(int)
        for name in names:
            for phase in list(self._seen.get(name, {})):
                found[phase] += 1
        return dict(found)

    def wait(self, holds: Callable[["Watcher"], bool], seconds: float, what: str) -> None:
        """Wait until `holds`. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not holds(self):
            if time.monotonic() > deadline:
                raise TimeoutError(f"timeout after {seconds:.0f} s: {what}")
            time.sleep(0.02 if len(self._seen) < 50 else 0.2)  # polling: does not affect the recorded times

    def _watch(self, kind: Kind) -> None:
        query = {"watch": "true", "timeoutSeconds": "3600"}
        with self._api.client() as client:
            while not self._closed.is_set():
                # A dropped connection restarts the watch.
                with (
                    contextlib.suppress(httpx.TransportError),
                    client.stream("GET", path_of(kind), params=query, timeout=None) as stream,
                ):
                    for line in stream.iter_lines():
                        if self._closed.is_set():
                            return
                        self._note(json.loads(line)["object"])

    def _note(self, body: Body) -> None:
        phase = (body.get("status") or {}).get("phase")
        if phase:
            self._seen[body["metadata"]["name"]].setdefault(phase, time.time())
