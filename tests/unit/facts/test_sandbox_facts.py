"""Each answer of the sandbox compared with the facts about fal's platform and AssemblyAI."""

import io
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from contentgen_sandbox.testing import SandboxServer, sandbox_server
from contentgen_simulation.facts import load

FAL = load("fal/platform.json")
TRANSCRIPTS = load("assemblyai/transcript.json")
MODEL, DRAWN = "fal-ai/flux/dev", {"prompt": "x", "image_size": "square"}
SPOKEN = {"audio_url": "https://files.example/one", "speech_models": ["universal-3-5-pro", "universal-2"]}

pytestmark = pytest.mark.usefixtures("bounded")


@dataclass
class Provider:
    """The sandbox as a client of both providers sees it; `key` is that of requests and `bills` that of billing."""

    server: SandboxServer
    http: httpx.Client
    key: str = "secret"
    bills: str = "billing"

    def fal(self, method: str, path: str, key: str = "", **more: Any) -> httpx.Response:
        """One request to fal's queue, or to the platform if the path begins with /v1."""
        base = self.server.fal_api_url if path.startswith("/v1") else self.server.fal_queue_url.rstrip("/")
        headers = {"authorization": f"Key {key or self.key}"}
        return self.http.request(method, base + path, headers=headers, **more)

    def speech(self, method: str, path: str, key: str = "", **more: Any) -> httpx.Response:
        """One request to AssemblyAI."""
        url = f"{self.server.assemblyai_url}/v2{path}"
        return self.http.request(method, url, headers={"authorization": key or self.key}, **more)

    def drawing(self, *faults: str, **arguments: Any) -> str:
        """Path of a new request for a picture, with these faults."""
        self.server.arm(*({"fault": fault, "provider": "fal"} for fault in faults))
        reply = self.fal("POST", f"/{MODEL}", json=DRAWN | arguments)
        return f"/fal-ai/flux/requests/{reply.json()['request_id']}"

    def drawn(self, *faults: str, **arguments: Any) -> str:
        """Path of a finished request for a picture."""
        path = self.drawing(*faults, **arguments)
        while self.fal("GET", f"{path}/status").status_code == 202:
            pass
        return path

    def speaking(self, *faults: str, **options: Any) -> str:
        """Path of a new transcript, with these faults."""
        self.server.arm(*({"fault": fault, "provider": "assemblyai"} for fault in faults))
        sound = io.BytesIO()
        with wave.open(sound, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(16_000))
        url = self.server.put_media("sound.wav", sound.getvalue())
        reply = self.speech("POST", "/transcript", json=SPOKEN | {"audio_url": url} | options)
        return f"/transcript/{reply.json()['id']}"

    def spoken(self, *faults: str, **options: Any) -> str:
        """Path of a finished transcript."""
        path = self.speaking(*faults, **options)
        while self.speech("GET", path).json()["status"] not in ("completed", "error"):
            pass
        return path


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with sandbox_server() as server, httpx.Client(timeout=60) as http:
        yield Provider(server, http)


def after(_: str, reply: httpx.Response) -> httpx.Response:
    """The reply; the request of that path has finished before it."""
    return reply


PRICES, BILLS = "/v1/models/pricing", "/v1/models/billing-events"
HISTORY = "/v1/models/requests/by-endpoint"
OF_MODEL = f"{HISTORY}?endpoint_id={MODEL}"
Ask = Callable[[Provider], httpx.Response]
FAL_ANSWERS: dict[str, tuple[str, int, Ask]] = {
    "accepted": ("submit", 200, lambda p: p.fal("POST", f"/{MODEL}", json=DRAWN)),
    "wrong key": ("submit", 401, lambda p: p.fal("POST", f"/{MODEL}", "wrong", json=DRAWN)),
    "unknown model": ("submit", 404, lambda p: p.fal("POST", "/fal-ai/none", json={})),
    "no JSON": ("submit", 422, lambda p: p.fal("POST", f"/{MODEL}", content=b"{")),
    "running": ("status", 202, lambda p: p.fal("GET", f"{p.drawing('stuck')}/status")),
    "running, with logs": ("status", 202, lambda p: p.fal("GET", f"{p.drawing('stuck')}/status?logs=1")),
    "completed": ("status", 200, lambda p: p.fal("GET", f"{p.drawn()}/status")),
    "completed, with logs": ("status", 200, lambda p: p.fal("GET", f"{p.drawn()}/status?logs=1")),
    "failed": ("status", 200, lambda p: p.fal("GET", f"{p.drawn('model_error')}/status")),
    "unknown": ("status", 404, lambda p: p.fal("GET", "/fal-ai/flux/requests/none/status")),
    "result": ("result", 200, lambda p: p.fal("GET", p.drawn())),
    "result of a failed one": ("result", 422, lambda p: p.fal("GET", p.drawn("model_error"))),
    "result of refused input": ("result", 422, lambda p: p.fal("GET", p.drawn(image_size="huge"))),
    "result of a running one": ("result", 400, lambda p: p.fal("GET", p.drawing("stuck"))),
    "expired result": ("result", 404, lambda p: p.fal("GET", p.drawn("result_expired"))),
    "unknown result": ("result", 404, lambda p: p.fal("GET", "/fal-ai/flux/requests/none")),
    "cancellation": ("cancel", 202, lambda p: p.fal("PUT", f"{p.drawing('stuck')}/cancel")),
    "late cancellation": ("cancel", 400, lambda p: p.fal("PUT", f"{p.drawn()}/cancel")),
    "unknown cancellation": ("cancel", 404, lambda p: p.fal("PUT", "/fal-ai/flux/requests/none/cancel")),
    "prices": ("pricing", 200, lambda p: p.fal("GET", f"{PRICES}?endpoint_id={MODEL}")),
    "unknown price": ("pricing", 404, lambda p: p.fal("GET", f"{PRICES}?endpoint_id=none")),
    "prices of nothing": ("pricing", 400, lambda p: p.fal("GET", PRICES)),
    "prices, wrong key": ("pricing", 401, lambda p: p.fal("GET", f"{PRICES}?endpoint_id=a", "wrong")),
    "bills": ("billingEvents", 200, lambda p: after(p.drawn(), p.fal("GET", BILLS, p.bills))),
    "bills of no one": ("billingEvents", 403, lambda p: p.fal("GET", BILLS)),
    "bills of a year": (
        "billingEvents",
        400,
        lambda p: p.fal("GET", f"{BILLS}?start=2026-01-01&end=2026-11-20", p.bills),
    ),
    "history": ("history", 200, lambda p: after(p.drawn(), p.fal("GET", OF_MODEL))),
    "history with inputs": (
        "history",
        200,
        lambda p: after(p.drawn("model_error"), p.fal("GET", f"{OF_MODEL}&expand=payloads")),
    ),
    "history of nothing": ("history", 400, lambda p: p.fal("GET", HISTORY)),
    "history, wrong key": ("history", 401, lambda p: p.fal("GET", f"{HISTORY}?endpoint_id=a", "wrong")),
}
SPEECH_ANSWERS: dict[str, tuple[str, int, Ask]] = {
    "accepted": ("create", 200, lambda p: p.speech("POST", "/transcript", json=SPOKEN)),
    "wrong key": ("create", 401, lambda p: p.speech("POST", "/transcript", "wrong", json={})),
    "no recording": ("create", 400, lambda p: p.speech("POST", "/transcript", json={})),
    "running": ("get", 200, lambda p: p.speech("GET", p.speaking("stuck"))),
    "completed": ("get", 200, lambda p: p.speech("GET", p.spoken())),
    "completed, with speakers": ("get", 200, lambda p: p.speech("GET", p.spoken(speaker_labels=True))),
    "completed, detected": ("get", 200, lambda p: p.speech("GET", p.spoken(language_detection=True))),
    "failed": ("get", 200, lambda p: p.speech("GET", p.spoken("model_error"))),
    "unknown": ("get", 400, lambda p: p.speech("GET", "/transcript/none")),
    "list": ("list", 200, lambda p: after(p.spoken("model_error"), p.speech("GET", "/transcript?limit=200"))),
    "empty list": ("list", 200, lambda p: p.speech("GET", "/transcript?created_on=2020-01-01")),
    "list of none": ("list", 400, lambda p: p.speech("GET", "/transcript?limit=0")),
    "deletion": ("delete", 200, lambda p: p.speech("DELETE", p.spoken())),
    "deletion of a running one": ("delete", 400, lambda p: p.speech("DELETE", p.speaking("stuck"))),
    "upload": ("upload", 200, lambda p: p.speech("POST", "/upload", content=b"x")),
    "subtitles": ("subtitles", 200, lambda p: p.speech("GET", f"{p.spoken()}/srt")),
    "sentences": ("sentences", 200, lambda p: p.speech("GET", f"{p.spoken()}/sentences")),
    "paragraphs": ("paragraphs", 200, lambda p: p.speech("GET", f"{p.spoken()}/paragraphs")),
}


@pytest.mark.parametrize("name", FAL_ANSWERS)
def test_the_sandbox_answers_as_fal(provider: Provider, name: str) -> None:
    endpoint, status, ask = FAL_ANSWERS[name]
    reply = ask(provider)
    assert reply.status_code == status
    assert FAL.answer_problems(endpoint, reply) == []


@pytest.mark.parametrize("name", SPEECH_ANSWERS)
def test_the_sandbox_answers_as_assemblyai(provider: Provider, name: str) -> None:
    endpoint, status, ask = SPEECH_ANSWERS[name]
    reply = ask(provider)
    assert reply.status_code == status
    assert TRANSCRIPTS.answer_problems(endpoint, reply) == []
