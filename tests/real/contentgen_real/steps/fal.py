"""Steps with fal alone: prices, pictures, history, odd requests, refusals, bills."""

import io
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from PIL import Image as Picture

from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import Image, ImageGenerationSpec, ImageSize
from contentgen_contract.texts import foreign_text
from contentgen_operator.clock import parse_time
from contentgen_operator.state.provider_requests import RequestView
from contentgen_real.context import StepContext, StepFailed, StepSkipped, fields
from contentgen_real.journal import RecordedRequest
from contentgen_real.place import FAL, FAL_ADMIN
from contentgen_real.steps.purchases import HISTORY_SECONDS, POLL_SECONDS, Bought, buy, call_of, ended, found_again
from contentgen_simulation.facts import fact_files, load

PICTURES, ODD, REFUSALS = "pictures", "odd-requests", "refusals"
SCHNELL, NOWHERE = "fal-ai/flux/schnell", "fal-ai/flux-lora/none"
SIDES = (1024, 512)
PROMPT = "a red cube on a white table"
MARGIN = timedelta(minutes=2)  # that the adapters allow between fal's clock and ours
_BAD_KEY = "00000000-0000-0000-0000-000000000000:wrong"
_UNKNOWN = "00000000-0000-7000-8000-000000000000"
_UNITS, _BILL_AS = "x-fal-billable-units", "x-fal-bill-as"
_IDS = 50  # in one query of billing events
_OK, _NOT_FOUND = 200, 404


async def prices(context: StepContext) -> None:
    """Prices of all models with facts, one by one; then of all with an unknown one."""
    facts = [load(path).document for path in fact_files() if path.startswith("fal/models/")]
    for fact in facts:
        reply = await context.fal_get("models/pricing", {"endpoint_id": fact["endpoint"]})
        _compare_price(context, fact, reply.status_code, next(iter(fields(reply).get("prices") or ()), {}))
    names = [fact["endpoint"] for fact in facts][: _IDS - 1]
    bogus = f"fal-ai/no-such-model-{secrets.token_hex(4)}"
    reply = await context.fal_get("models/pricing", {"endpoint_id": [*names, bogus]})
    context.note(f"{len(names)} models and an unknown one: {reply.status_code}")
    context.expect("fal pricing of several with an unknown one", "status", _NOT_FOUND, reply.status_code)


def _compare_price(context: StepContext, fact: Mapping[str, Any], status: int, row: Mapping[str, Any]) -> None:
    where, unit = f"fal pricing of {fact['endpoint']}", foreign_text(str(row.get("unit")), 60)
    context.note(f"{fact['endpoint']}: {_number(row.get('unit_price'))} {unit} ({status})")
    context.expect(where, "status", _OK, status)
    known = (fact["price"] or {}).get("pricingRow")
    if known and status == _OK:
        context.expect(where, "$.prices[0].unit", known["unit"], unit)
        context.expect(where, "$.prices[0].unit_price", f"{known['unitPrice']:g}", _number(row.get("unit_price")))


async def pictures(context: StepContext) -> None:
    """Two pictures: their billed units, headers and sizes, and whether the history lists them before they end."""
    for side in SIDES:
        bought = await _buy_picture(context, PICTURES, side)
        await _look(context, bought, "at once after the request")
        view = await ended(context, context.fal, bought)
        await _look(context, bought, "at once after its end")
        _note_bill(context, bought, f"{side}x{side}")
        await _check_size(context, view, side)


async def _buy_picture(context: StepContext, step: str, side: int) -> Bought:
    spec = ImageGenerationSpec(
        model="flux-schnell", prompt=PROMPT, image=Image(size=ImageSize(width=side, height=side), count=1)
    )
    return await buy(context, step, context.fal, *call_of(Kind.IMAGE_GENERATION, spec))


async def _look(context: StepContext, bought: Bought, when: str) -> None:
    item = await _entry(context, bought.record)
    listed = "not listed" if item is None else "listed and ended" if item.get("ended_at") else "listed, not ended"
    context.note(f"history {when}: {listed}")


def _note_bill(context: StepContext, bought: Bought, size: str) -> None:
    headers = context.checks.headers.get(bought.request_id, {})
    where = f"fal result of {bought.call.model} {size}"
    context.expect(where, f"header {_UNITS}", "a number", "a number" if _UNITS in headers else "nothing")
    context.note(f"{size}: {_number(headers.get(_UNITS))} billable units")
    if _BILL_AS in headers:
        context.note(f"{size}: billed as {foreign_text(headers[_BILL_AS], 100)}")


async def _check_size(context: StepContext, view: RequestView, side: int) -> None:
    if view.result is None:
        raise StepFailed("the result is too large")
    with view.result.file() as file:
        images = json.load(file)["images"]
    context.expect("fal result", "$.images length", "1", str(len(images)))
    reply = await context.http.get(images[0]["url"], follow_redirects=True)
    with Picture.open(io.BytesIO(reply.raise_for_status().content)) as opened:
        context.expect("the picture", "size", f"{side}x{side}", f"{opened.width}x{opened.height}")


async def history(context: StepContext) -> None:
    """History entries of the pictures: input, time and delay; the search after a lost reply finds each once."""
    records = context.journal.requests("fal", PICTURES)
    if not records:
        raise StepSkipped(f"the step {PICTURES} has bought none")
    for record in records:

        async def listed(record: RecordedRequest = record) -> Mapping[str, Any] | None:
            return await _entry(context, record)

        item = await context.until("the history's entry", listed, HISTORY_SECONDS)
        if _compare_entry(context, record, item):
            await found_again(context, context.fal, record)
        else:
            context.note("the search after a lost reply compares the input, so it cannot find this request")


async def _entry(context: StepContext, record: RecordedRequest) -> Mapping[str, Any] | None:
    query = {"endpoint_id": record.model, "request_id": record.request_id, "expand": "payloads"}
    items = fields(await context.fal_get("models/requests/by-endpoint", query)).get("items") or ()
    return next((item for item in items if item.get("request_id") == record.request_id), None)


def _compare_entry(context: StepContext, record: RecordedRequest, item: Mapping[str, Any]) -> bool:
    """True if the entry has the input that was sent."""
    where, sent = "fal history", dict[str, Any](json.loads(record.arguments))
    given = item.get("json_input")
    listed: Mapping[str, Any] = given if isinstance(given, dict) else {}
    for name in sorted(sent.keys() | listed.keys()):
        found = "equal" if sent.get(name) == listed.get(name) else "nothing" if name not in listed else "another value"
        context.expect(where, f"$.items[0].json_input.{foreign_text(name, 60)}", "equal", found)
    sent_at = parse_time(item.get("sent_at"))
    in_time = sent_at is not None and record.sent_after - MARGIN <= sent_at <= record.sent_before + MARGIN
    context.expect(where, "$.items[0].sent_at", "within 2 minutes", "within 2 minutes" if in_time else "another time")
    if sent_at is not None:
        context.note(f"sent_at is {(sent_at - record.sent_after).total_seconds():.1f} s after our clock's time")
    after = (datetime.now(UTC) - record.sent_before).total_seconds()
    context.note(f"the history lists {', '.join(foreign_text(name, 30) for name in sorted(item))}")
    context.note(f"seen in the history {after:.0f} s after the request at most")
    return sent == listed


async def odd_requests(context: StepContext) -> None:
    """A request to an unknown sub-path, and one without input: are they accepted, and how do they end."""
    for model in (NOWHERE, SCHNELL):  # without input, so that nothing runs if the sub-path is ignored
        reply = await context.fal_post(ODD, model, {})
        what = f"{model} without input"
        context.note(f"{what}: {reply.status_code} at the request")
        if reply.is_success:
            status, headers = await _end(context, model, str(fields(reply).get("request_id")))
            context.note(f"{what}: {status} at the result, {_number(headers.get(_UNITS))} billable units")
            context.expect(f"fal result of {what}", "status", "an error", "an error" if status >= 400 else str(status))


async def _end(context: StepContext, model: str, request_id: str) -> tuple[int, Mapping[str, str]]:
    """Status and headers of the result of a request that need not be good."""
    path = f"{'/'.join(model.split('/')[:2])}/requests/{request_id}"

    async def completed() -> bool | None:
        return fields(await context.fal_queue("GET", f"{path}/status")).get("status") == "COMPLETED" or None

    await context.until(f"the end of a request to {model}", completed, POLL_SECONDS)
    reply = await context.fal_queue("GET", path)
    return reply.status_code, reply.headers


async def refusals(context: StepContext) -> None:
    """A wrong key, an unknown id, the cancellation of a finished and of a queued request."""
    app = "fal-ai/flux/requests"
    wrong = await context.fal_queue("GET", f"{app}/{_UNKNOWN}/status", _BAD_KEY)
    context.expect("fal status with a wrong key", "status", 401, wrong.status_code)
    wrong = await context.fal_get("models/pricing", {"endpoint_id": SCHNELL}, _BAD_KEY)
    context.expect("fal pricing with a wrong key", "status", 401, wrong.status_code)
    unknown = await context.fal_queue("GET", f"{app}/{_UNKNOWN}/status")
    context.expect("fal status of an unknown id", "status", _NOT_FOUND, unknown.status_code)
    wrong = await context.fal_post(REFUSALS, SCHNELL, {}, _BAD_KEY)
    context.expect("fal request with a wrong key", "status", 401, wrong.status_code)
    for record in context.journal.requests("fal", PICTURES)[:1]:
        late = await context.fal_queue("PUT", f"{app}/{record.request_id}/cancel")
        context.expect("fal cancellation of a finished request", "status", 400, late.status_code)
    bought = await _buy_picture(context, REFUSALS, SIDES[-1])
    reply = await context.fal_queue("PUT", f"{app}/{bought.request_id}/cancel")
    status, headers = await _end(context, SCHNELL, bought.request_id)
    context.note(f"cancellation of a queued request: {reply.status_code}, then {status} at the result")
    context.note(f"cancelled request: {_number(headers.get(_UNITS))} billable units")


async def bills(context: StepContext) -> None:
    """Billing events of all requests of all runs: rows, names of the endpoints, charges, delay."""
    records = context.journal.requests("fal")
    if not records:
        raise StepSkipped("no run has bought anything at fal")
    rows = await _rows(context, records)
    charged = dict[str, Decimal]()
    for record in records:
        own = [row for row in rows if row.get("request_id") == record.request_id]
        names = sorted({foreign_text(str(row.get("endpoint_id")), 100) for row in own})
        usd = sum((_usd(row) for row in own), Decimal(0))
        charged[record.step] = charged.get(record.step, Decimal(0)) + usd
        context.note(f"{record.step}, {record.model}: {len(own)} rows of {', '.join(names) or 'nothing'}, {usd:f} USD")
        for at in filter(None, (parse_time(row.get("timestamp")) for row in own)):
            context.note(f"   its time is {(at - record.sent_before).total_seconds():.0f} s after the request")
    for step, usd in charged.items():
        within = usd <= context.journal.bound(step)
        context.expect(f"fal bills of {step}", "sum", "within its bound", "within its bound" if within else f"{usd:f}")
    if record_of_picture := next((record for record in records if record.step == PICTURES), None):
        billed = any(row.get("request_id") == record_of_picture.request_id for row in rows)
        context.expect("fal bills of a picture", "$.billing_events", "a row", "a row" if billed else "nothing")
    if plain := context.place.key(FAL):
        reply = await context.fal_get("models/billing-events", {"limit": 1}, plain)
        context.note(f"billing events with the key for requests: {reply.status_code}")


async def _rows(context: StepContext, records: list[RecordedRequest]) -> list[dict[str, Any]]:
    start = min(record.sent_after for record in records) - timedelta(hours=1)
    ids, rows = [record.request_id for record in records], list[dict[str, Any]]()
    for first in range(0, len(ids), _IDS):
        query = {
            "request_id": ids[first : first + _IDS],
            "start": start.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
        reply = await context.fal_get("models/billing-events", query, context.place.key(FAL_ADMIN))
        context.expect("fal billing events with the admin key", "status", _OK, reply.status_code)
        rows += [row for row in fields(reply).get("billing_events") or () if isinstance(row, dict)]
    return rows


def _usd(row: Mapping[str, Any]) -> Decimal:
    """Charge of a row in US dollars; 0 without a number, which the comparison with the facts reports."""
    given = row.get("cost_total")
    return Decimal(str(given)) if isinstance(given, int | float) and not isinstance(given, bool) else Decimal(0)


def _number(given: object) -> str:
    """A number as text; other values as their kind."""
    try:
        return f"{float(str(given)):g}"
    except ValueError:
        return "no"
