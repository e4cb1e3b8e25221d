"""In-process stand-in of fal and AssemblyAI for tests of the steps: its answers are examples made from the facts."""

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import httpx
from PIL import Image as Picture

from contentgen_simulation.facts import PublishedFacts, fact_files, load

BASE = "http://127.0.0.1:9"
SETTINGS = {
    "CONTENTGEN_FAL_QUEUE_URL": f"{BASE}/fal",
    "CONTENTGEN_FAL_API_URL": f"{BASE}/fal-api",
    "CONTENTGEN_ASSEMBLYAI_URL": f"{BASE}/assemblyai",
}
_UNITS = 1_000_000  # pixels
_FAL = load("fal/platform.json")
_TRANSCRIPTS = load("assemblyai/transcript.json")
Json = dict[str, Any]


@dataclass
class StandInJob:
    """An accepted request."""

    model: str
    input: Json
    id: str = field(default_factory=lambda: str(uuid4()))
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    polls: int = 0
    cancelled: bool = False


@dataclass
class StandInProviders:
    """Handler of `httpx.MockTransport`. `change` may alter the JSON of an answer by the name of its endpoint; `lose`
    names an endpoint whose accepted requests have no reply.
    """

    change: Callable[[str, Any], Any] = lambda _, answer: answer
    lose: str = ""
    sent: list[httpx.Request] = field(default_factory=list)
    jobs: dict[str, StandInJob] = field(default_factory=dict)

    @property
    def bought(self) -> list[str]:
        """Models of all accepted requests; `transcript` for those of AssemblyAI."""
        return [job.model for job in self.jobs.values()]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer of a request. Raises httpx.ReadTimeout for a lost reply."""
        self.sent.append(request)
        path = request.url.path
        for pattern, name, answer in self._routes():
            if (match := re.fullmatch(pattern, f"{request.method} {path}")) is not None:
                status, body, *more = answer(request, *match.groups())
                if isinstance(body, bytes):
                    return httpx.Response(status, content=body)
                if name == self.lose:
                    raise httpx.ReadTimeout("lost", request=request)
                headers: Mapping[str, str] = more[0] if more else {}
                return httpx.Response(status, json=self.change(name, body), headers=headers)
        raise AssertionError(f"no such route: {request.method} {path}")

    def _routes(self) -> list[tuple[str, str, Callable[..., tuple[Any, ...]]]]:
        queue = "/fal/[^/]+/[^/]+/requests/([^/]+)"
        return [
            (f"GET {queue}/status", "status", self._status),
            (f"GET {queue}", "result", self._result),
            (f"PUT {queue}/cancel", "cancel", self._cancel),
            ("POST /fal/(.+)", "submit", self._submit),
            ("GET /fal-api/v1/models/pricing", "pricing", self._pricing),
            ("GET /fal-api/v1/models/requests/by-endpoint", "history", self._history),
            ("GET /fal-api/v1/models/billing-events", "billingEvents", self._bills),
            ("POST /assemblyai/v2/upload", "upload", self._upload),
            ("POST /assemblyai/v2/transcript", "create", self._create),
            ("GET /assemblyai/v2/transcript", "list", self._list),
            ("GET /assemblyai/v2/transcript/([^/]+)", "get", self._transcript),
            ("GET /media/(\\d+)x(\\d+).png", "media", lambda _, width, height: (200, _png(int(width), int(height)))),
        ]

    def _submit(self, request: httpx.Request, model: str) -> tuple[int, Any]:
        if _wrong(request):
            return 401, {"detail": "Cannot access application"}
        job = StandInJob(model, json.loads(request.content))
        self.jobs[job.id] = job
        return 200, {**_example(_FAL, "submitted"), "request_id": job.id}

    def _status(self, request: httpx.Request, request_id: str) -> tuple[int, Any]:
        if _wrong(request):
            return 401, {"detail": "Cannot access application"}
        if (job := self.jobs.get(request_id)) is None:
            return 404, {"status": "NOT_FOUND"}
        job.polls += 1
        if job.polls == 1:
            return 202, _example(_FAL, "inQueue")
        return 200, {name: value for name, value in _example(_FAL, "completed").items() if not name.startswith("error")}

    def _result(self, _: httpx.Request, request_id: str) -> tuple[int, Any, Mapping[str, str]]:
        job = self.jobs[request_id]
        facts = f"fal/models/{job.model.replace('/', '--')}.json"
        if facts not in fact_files():
            return 404, {"status": "NOT_FOUND"}, {"x-fal-billable-units": "0"}
        if "prompt" not in job.input:
            detail = {"loc": ["body", "prompt"], "msg": "field required", "type": "missing"}
            return 422, {"detail": [detail]}, {"x-fal-billable-units": "0"}
        output = load(facts)
        size = job.input["image_size"]
        image = {"url": f"{BASE}/media/{size['width']}x{size['height']}.png", "content_type": "image/png", **size}
        body = {**_of(output, output.document["output"]), "images": [image]}
        return 200, body, {"x-fal-billable-units": f"{-(-size['width'] * size['height'] // _UNITS)}"}

    def _cancel(self, _: httpx.Request, request_id: str) -> tuple[int, Any]:
        ended = self.jobs[request_id].polls > 1
        return (400, {"status": "ALREADY_COMPLETED"}) if ended else (202, {"status": "CANCELLATION_REQUESTED"})

    def _pricing(self, request: httpx.Request) -> tuple[int, Any]:
        if _wrong(request):
            return 401, _platform_error("authorization_error")
        asked = parse_qs(request.url.query.decode())["endpoint_id"]
        paths = [f"fal/models/{name.replace('/', '--')}.json" for name in asked]
        if not set(paths) <= set(fact_files()):
            return 404, _platform_error("not_found")
        rows = [_price_row(load(path).document) for path in paths]
        return 200, {"prices": rows, "has_more": False, "next_cursor": None}

    def _history(self, request: httpx.Request) -> tuple[int, Any]:
        asked = parse_qs(request.url.query.decode())
        items = [
            {
                "request_id": job.id, "endpoint_id": job.model, "sent_at": _time(job.at), "started_at": _time(job.at),
                "ended_at": _time(job.at), "status_code": 200, "duration": 0.5, "json_input": job.input,
                "json_output": {},
            }
            for job in self.jobs.values()
            if job.polls > 1 and job.model in asked["endpoint_id"] and job.id in asked.get("request_id", [job.id])
        ]  # fmt: skip
        return 200, {"items": items, "has_more": False, "next_cursor": None}

    def _bills(self, request: httpx.Request) -> tuple[int, Any]:
        if "admin" not in request.headers["authorization"]:
            return 403, _platform_error("authorization_error")
        asked = parse_qs(request.url.query.decode()).get("request_id", [])
        asked_jobs = [self.jobs[request_id] for request_id in asked if request_id in self.jobs]
        rows = [_bill(job) for job in asked_jobs if "image_size" in job.input]
        return 200, {"billing_events": rows, "has_more": False, "next_cursor": None}

    def _upload(self, _: httpx.Request) -> tuple[int, Any]:
        return 200, {"upload_url": f"{BASE}/uploads/one"}

    def _create(self, request: httpx.Request) -> tuple[int, Any]:
        body = json.loads(request.content)
        if not body.keys() <= _TRANSCRIPTS.definitions["TranscriptParams"]["properties"].keys():
            return 400, {"error": "no such parameter"}
        job = StandInJob("transcript", body)
        self.jobs[job.id] = job
        return 200, self._document(job, "queued")

    def _transcript(self, _: httpx.Request, request_id: str) -> tuple[int, Any]:
        if (job := self.jobs.get(request_id)) is None:
            return 400, {"error": "Transcript lookup error, transcript id not found"}
        job.polls += 1
        return 200, self._document(job, "completed" if job.polls > 1 else "processing")

    def _document(self, job: StandInJob, status: str) -> Json:
        used = job.input.get("speech_models", ["universal-2"])[0]
        own = {"id": job.id, "status": status, "audio_url": job.input["audio_url"], "speech_model_used": used}
        given = {name: value for name, value in job.input.items() if name != "language_detection"}
        return {**_example(_TRANSCRIPTS, "Transcript", "required fields"), **given, **own}

    def _list(self, request: httpx.Request) -> tuple[int, Any]:
        if request.headers["authorization"] == "wrong":
            return 401, {"error": "Authentication error, API token missing/invalid"}
        transcripts = [
            {
                "id": job.id, "resource_url": f"{BASE}/{job.id}", "status": "completed", "error": None,
                "created": _naive(job.at), "completed": _naive(job.at), "audio_url": job.input["audio_url"],
            }
            for job in reversed(self.jobs.values())
            if job.model == "transcript"
        ]  # fmt: skip
        details = {"limit": 200, "result_count": len(transcripts), "current_url": BASE, "prev_url": None}
        return 200, {"page_details": {**details, "next_url": None}, "transcripts": transcripts}


def _example(facts: PublishedFacts, definition: str, name: str = "all fields") -> Json:
    return _of(facts, facts.definitions[definition], name)


def _of(facts: PublishedFacts, schema: Mapping[str, Any], name: str = "all fields") -> Json:
    whole = PublishedFacts(facts.path, {"$defs": schema.get("$defs", facts.definitions)})
    example: Json = next(instance for example, instance in whole.examples(schema) if example == name)
    return example


def _price_row(fact: Mapping[str, Any]) -> Json:
    price = fact["price"] or {"usd": 1, "unit": "units", "pricingRow": None}
    row = price["pricingRow"] or {"unitPrice": price["usd"], "unit": f"{price['unit']}s"}
    return {"endpoint_id": fact["endpoint"], "unit_price": row["unitPrice"], "unit": row["unit"], "currency": "USD"}


def _bill(job: StandInJob) -> Json:
    costs = {"cost_subtotal": 0.003, "cost_discount": 0, "cost_total": 0.003, "cost_estimate_nano_usd": 3_000_000}
    units = {"output_units": 1, "unit_price": 0.003, "percent_discount": None}
    return {"request_id": job.id, "endpoint_id": job.model, "timestamp": _time(job.at), **units, **costs}


def _platform_error(kind: str) -> Json:
    return {"error": {"type": kind, "message": "no"}}


def _wrong(request: httpx.Request) -> bool:
    return str(request.headers.get("authorization")).endswith(":wrong")


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _naive(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat()


def _png(width: int, height: int) -> bytes:
    content = io.BytesIO()
    Picture.new("RGB", (width, height), "red").save(content, "PNG")
    return content.getvalue()
