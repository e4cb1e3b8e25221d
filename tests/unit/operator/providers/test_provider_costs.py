"""Billable units of requests, and unit prices, read from providers over HTTP on loopback."""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from contentgen_contract.resources.prices import Unit
from contentgen_operator.providers.answers import AnswerFile
from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.pricing import FalPrices, parse_price
from contentgen_operator.state.provider_requests import RequestState, billable_units

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

MODEL = "fal-ai/flux/dev"
ROOT = "/fal-ai/flux/requests/r1"
DONE = {"status": "COMPLETED", "logs": None}
Reply = tuple[int, Any, dict[str, str]]


class Server:
    """Answers each path with what is set for it: status, body, headers."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.seen: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append(self.path)
                status, body, headers = outer.replies.get(self.path.split("?")[0], (404, {}, {}))
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
async def fal(server: Server, key: KeyFile) -> AsyncIterator[Fal]:
    made = Fal(key, server.url, server.url, timeout=httpx.Timeout(60))
    yield made
    await made.close()


UNITS = "X-Fal-Billable-Units"


@pytest.mark.parametrize(
    ("status", "result", "units", "cancelled"),
    [
        (DONE, (200, {"images": []}, {UNITS: "2"}), 2.0, False),
        (DONE, (200, {"images": []}, {}), None, False),
        (DONE, (200, {"images": []}, {UNITS: "a lot"}), None, False),
        (DONE, (200, {"images": []}, {UNITS: "-1"}), None, False),
        (DONE, (422, {"detail": "bad"}, {}), None, False),
        (DONE, (422, {"detail": "bad"}, {UNITS: "0"}), 0.0, False),
        (DONE, (422, {"detail": "bad"}, {UNITS: "1.5"}), 1.5, False),
        (DONE | {"error": "boom"}, (500, {"detail": "boom"}, {}), 0.0, False),
        (DONE | {"error": "ended"}, (499, {"detail": "ended"}, {}), None, True),
        (DONE | {"error": "ended"}, (400, {}, {"X-Fal-Error-Type": "client_cancelled"}), None, True),
    ],
)
async def test_fal_tells_the_units_that_it_bills(
    fal: Fal, server: Server, *, status: Any, result: Reply, units: float | None, cancelled: bool
) -> None:
    server.replies |= {f"{ROOT}/status": (200, status, {}), ROOT: result}
    view = await fal.poll(MODEL, "r1")
    assert (view.billable_units, view.cancelled) == (units, cancelled)
    assert view.state is (RequestState.SUCCEEDED if result[0] == 200 else RequestState.FAILED)


@pytest.mark.parametrize(
    ("document", "units", "used"),
    [
        ({"status": "completed", "audio_duration": 61, "speech_model_used": "universal-2"}, 61, "universal-2"),
        ({"status": "completed", "text": "hi"}, None, ""),
        ({"status": "completed", "audio_duration": None, "speech_model_used": None}, None, ""),
        ({"status": "completed", "audio_duration": 7, "speech_model_used": "../x"}, 7, ""),
        ({"status": "completed", "text": '"audio_duration": 5, ', "audio_duration": 9}, 9, ""),
        ({"status": "error", "error": "no speech", "audio_duration": 61}, 0, ""),
    ],
)
async def test_assemblyai_tells_the_seconds_and_the_model(
    server: Server, key: KeyFile, document: Any, units: float | None, used: str
) -> None:
    server.replies["/v2/transcript/t1"] = (200, document, {})
    view = await AssemblyAI(key, server.url, timeout=60).poll("", "t1")
    assert (view.billable_units, view.model_used) == (units, used)


def test_seconds_of_a_large_transcript_are_read_without_parsing() -> None:
    answer = AnswerFile.of({"words": [{"text": "x" * 50, "start": 1}] * 40_000, "audio_duration": 4711})
    assert answer.size > 2 << 20
    assert answer.field("audio_duration") == 4711


@pytest.mark.parametrize("given", ["nan", "inf", "1e300", "-0.5", "", "0x10", None, True, [], {}])
def test_invalid_number_of_units_is_unknown(given: Any) -> None:
    assert billable_units(given) is None


# Unit prices


def priced(usd: Any, unit: Any = "megapixels", currency: Any = "USD", model: str = MODEL) -> dict[str, Any]:
    item = {"endpoint_id": model, "unit_price": usd, "unit": unit, "currency": currency}
    return {"prices": [item], "has_more": False, "next_cursor": None}


@pytest.fixture
async def prices(server: Server, key: KeyFile) -> AsyncIterator[tuple[FalPrices, Clock]]:
    clock = Clock()
    made = FalPrices(key, server.url, clock=clock, timeout=60)
    yield made, clock
    await made.close()


async def test_a_price_is_asked_for_once_an_hour(server: Server, prices: tuple[FalPrices, Clock]) -> None:
    source, clock = prices
    server.replies["/v1/models/pricing"] = (200, priced(0.02), {})
    first = await source.price(MODEL)
    assert first.price is not None
    assert (first.price.micros, first.price.unit, first.price.billing) == (20_000, Unit.MEGAPIXEL, True)
    server.replies["/v1/models/pricing"] = (200, priced(0.03), {})
    clock.now = 3599
    assert await source.price(MODEL) == first
    clock.now = 3601
    changed = (await source.price(MODEL)).price
    assert changed is not None
    assert changed.micros == 30_000
    assert server.seen == [f"/v1/models/pricing?endpoint_id={MODEL.replace('/', '%2F')}"] * 2


@pytest.mark.parametrize("reply", [(500, {}, {}), (401, {}, {}), (200, [], {}), (200, {"prices": 1}, {})])
async def test_a_failed_look_up_is_told_and_repeated_after_a_minute(
    server: Server, prices: tuple[FalPrices, Clock], reply: Reply
) -> None:
    source, clock = prices
    server.replies["/v1/models/pricing"] = reply
    assert (await source.price(MODEL)).problem
    server.replies["/v1/models/pricing"] = (200, priced(0.02), {})
    assert (await source.price(MODEL)).problem, "it is not asked again at once"
    clock.now = 61
    known = await source.price(MODEL)
    assert known.price is not None
    server.replies["/v1/models/pricing"] = reply
    clock.now = 10_000
    last = await source.price(MODEL)
    assert last.price == known.price, "the last known price holds"
    assert last.problem, "and may be another now"


async def test_a_model_without_a_price_is_no_problem(server: Server, prices: tuple[FalPrices, Clock]) -> None:
    source, _ = prices
    server.replies["/v1/models/pricing"] = (200, {"prices": []}, {})
    found = await source.price("some/model")
    assert (found.price, found.problem) == (None, "")


async def test_remembered_models_are_bounded(server: Server, prices: tuple[FalPrices, Clock]) -> None:
    source, _ = prices
    server.replies["/v1/models/pricing"] = (200, {"prices": []}, {})
    for number in range(258):
        await source.price(f"m/{number}")
    await source.price("m/257")
    assert len(server.seen) == 258
    await source.price("m/0")
    assert len(server.seen) == 259


async def test_without_a_key_nobody_is_asked(server: Server, tmp_path: Path) -> None:
    source = FalPrices(KeyFile(str(tmp_path / "none")), server.url)
    assert (await source.price(MODEL)).problem
    assert server.seen == []
    await source.close()


@pytest.mark.parametrize(
    "document",
    [
        priced(0),
        priced(-1),
        priced("0.02"),
        priced(True),
        priced(1e9),
        priced(float("nan")),
        priced(0.02, currency="EUR"),
        priced(0.02, unit=None),
        priced(0.02, model="another/model"),
        {"prices": [None, 1, "x"]},
    ],
)
def test_a_price_that_cannot_be_believed_is_none(document: Any) -> None:
    assert parse_price(document, MODEL, datetime(2026, 11, 22, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("model", "unit", "ours", "minimum"),
    [
        (MODEL, "images", Unit.IMAGE, 0),
        (MODEL, "Megapixel", Unit.MEGAPIXEL, 0),
        (MODEL, "compute seconds", Unit.OTHER, 0),
        (MODEL, "minutes", Unit.OTHER, 0),  # of video, which are not counted before it is there
        ("fal-ai/flux-lora-portrait-trainer", "steps", Unit.STEP, 1000),
        ("fal-ai/flux-lora-portrait-trainer", "runs", Unit.OTHER, 0),
        ("fal-ai/flux-2-trainer-v2", "units", Unit.STEP, 0),  # the catalogue has the meaning of these words
        ("fal-ai/flux-2-trainer", "Train units", Unit.STEP, 0),
        ("fal-ai/flux-lora", "units", Unit.OTHER, 0),
    ],
)
def test_the_unit_is_the_providers(model: str, unit: str, ours: Unit, minimum: float) -> None:
    found = parse_price(priced(0.02, unit, model=model), model, datetime(2026, 11, 22, tzinfo=UTC))
    assert found is not None
    assert (found.unit, found.minimum) == (ours, minimum)
