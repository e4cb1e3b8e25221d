"""fal.ai's queue and history API, compatible with fal-client 1.0.3."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response

from contentgen_contract.resources.prices import PRICES, USD
from contentgen_sandbox.fal.models import MODELS
from contentgen_sandbox.faults import status_fault
from contentgen_sandbox.jobs import SandboxJob
from contentgen_sandbox.ledger import LedgerEntry, usd
from contentgen_sandbox.sandbox import SandboxPurchase, account_of, of, read_object, secret_of

router = APIRouter(prefix="/fal")
history = APIRouter(prefix="/fal-api")
HISTORY_WINDOW = timedelta(hours=24)
HISTORY_OF_ONE = timedelta(days=90)  # for a query by request id
BILLING_WINDOW, BILLING_SPAN = timedelta(hours=24), timedelta(days=90)  # without a start; between start and end
BILLING_KEY = "billing"  # prefix of keys with the billing permission
# fal prices every public endpoint: US dollars and unit of some that the sandbox does not run.
OTHER_PRICES = {
    "fal-ai/veo3.1": (0.20, "seconds"),
    "fal-ai/veo3.1/fast": (0.10, "seconds"),
    "fal-ai/kling-video/v3/pro/text-to-video": (0.112, "seconds"),
    "bytedance/seedance-2.0/text-to-video": (0.014, "1000 tokens"),
    "fal-ai/ltx-2.3/text-to-video": (0.06, "seconds"),
    "fal-ai/krea-2-trainer": (0.003, "steps"),
    "fal-ai/flux-lora-portrait-trainer": (0.0024, "steps"),
    "fal-ai/flux-2-trainer": (0.008, "steps"),
    "fal-ai/florence-2-large/caption": (0.001, "compute seconds"),
}


def authorise(request: Request) -> str:
    """Account of the key. Raises HTTPException 401 if the key is missing or `wrong`."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "key" or secret_of(key.strip()) in ("", "wrong"):
        raise HTTPException(401, "Authentication is required to access this application.")
    return account_of(key.strip())


def _may_read_bills(request: Request) -> bool:
    """True if the key may read billing, which a request key may not."""
    return secret_of(request.headers["authorization"].partition(" ")[2].strip()).startswith(BILLING_KEY)


@router.post("/{owner}/{alias}")
@router.post("/{owner}/{alias}/{path:path}")
async def submit(request: Request, owner: str, alias: str, path: str = "") -> Response:
    account = authorise(request)
    endpoint = "/".join(part for part in (owner, alias, path) if part)
    model = MODELS.get(endpoint)
    if model is None:
        raise HTTPException(404, f"Application '{endpoint}' not found")
    sandbox = of(request)
    if refused := await sandbox.refuse("fal", endpoint):
        return refused
    arguments = await read_object(request)
    if arguments is None:
        return JSONResponse({"detail": [{"loc": ["body"], "msg": "JSON decode error", "type": "json_invalid"}]}, 422)
    quote = model.quote(arguments)
    purchase = SandboxPurchase(
        "fal", endpoint, arguments, quote.what, usd(endpoint, quote.units), quote.marker, account
    )
    job = await sandbox.accept(purchase, request)
    url = f"{request.base_url}fal/{owner}/{alias}/requests/{job.id}"  # without the sub-path, as fal's are
    reply = {
        "status": "IN_QUEUE",
        "request_id": job.id,
        "response_url": url,
        "status_url": f"{url}/status",
        "cancel_url": f"{url}/cancel",
        "queue_position": sandbox.jobs.position(job),
    }
    return JSONResponse(reply)


def _job(request: Request, owner: str, alias: str, request_id: str) -> SandboxJob | None:
    account = authorise(request)
    job = of(request).jobs.get(request_id)
    if job is None or (job.provider, job.account) != ("fal", account):
        return None
    return job if job.model.split("/")[:2] == [owner, alias] else None


def _unknown() -> Response:
    return JSONResponse({"status": "NOT_FOUND"}, 404)


@router.get("/{owner}/{alias}/requests/{request_id}/status")
async def status(request: Request, owner: str, alias: str, request_id: str, logs: bool = False) -> Response:
    job = _job(request, owner, alias, request_id)
    if job is None:
        return _unknown()
    if faulty := await status_fault(of(request).faults, "fal", job.model):
        return faulty
    url = f"{request.base_url}fal/{owner}/{alias}/requests/{job.id}"
    lines = [line.model_dump(mode="json") for line in job.logs] if logs else None
    body: dict[str, Any] = {
        "request_id": job.id,
        "response_url": url,
        "status_url": f"{url}/status",
        "cancel_url": f"{url}/cancel",
    }
    if job.phase == "queued":
        body |= {"status": "IN_QUEUE", "queue_position": of(request).jobs.position(job)}
    elif job.phase == "running":
        body |= {"status": "IN_PROGRESS", "logs": lines}
    else:
        body |= {"status": "COMPLETED", "logs": lines, "metrics": {"inference_time": _seconds(job)}}
        if job.failure:
            body |= {"error": job.failure.message, "error_type": job.failure.kind}
    return JSONResponse(body, 200 if job.phase == "done" else 202)


@router.get("/{owner}/{alias}/requests/{request_id}")
async def result(request: Request, owner: str, alias: str, request_id: str) -> Response:
    job = _job(request, owner, alias, request_id)
    if job is None:
        return _unknown()
    if job.phase != "done":
        raise HTTPException(400, "Request is still in progress")
    if job.failure:
        headers = {"x-fal-error-type": job.failure.kind}
        return JSONResponse({"detail": job.failure.detail}, job.failure.status_code, headers)
    units = MODELS[job.model].quote(job.input).units
    return _no_longer(job) or JSONResponse(job.output, headers={"x-fal-billable-units": f"{units:g}"})


def _no_longer(job: SandboxJob) -> Response | None:
    """Response for an expired result; fal keeps results for at most an hour."""
    if "result_moved" in job.faults:
        return Response(status_code=302, headers={"location": f"{job.base_url}/files/{job.id}/moved.json"})
    status = {"result_expired": 404, "result_deleted": 410}
    code = next((status[fault] for fault in job.faults if fault in status), None)
    return JSONResponse({"detail": "Request result has expired"}, code) if code else None


@router.put("/{owner}/{alias}/requests/{request_id}/cancel")
async def cancel(request: Request, owner: str, alias: str, request_id: str) -> Response:
    job = _job(request, owner, alias, request_id)
    if job is None:
        return _unknown()
    if job.phase == "done":
        return JSONResponse({"status": "ALREADY_COMPLETED"}, 400)
    of(request).runner.cancel(job.id)
    return JSONResponse({"status": "CANCELLATION_REQUESTED"}, 202)


@history.get("/v1/models/pricing")
async def pricing(request: Request, endpoint_id: Annotated[list[str], Query(max_length=50)]) -> Response:
    """Unit prices of the sandbox's models and of some others; 404 if none of the requested ones is known, as at fal."""
    authorise(request)
    names = [name for item in endpoint_id for name in item.split(",")]
    known = OTHER_PRICES | {name: (PRICES[name].micros / USD, f"{PRICES[name].unit}s") for name in MODELS}
    prices = [
        {"endpoint_id": name, "unit_price": known[name][0], "unit": known[name][1], "currency": "USD"}
        for name in names
        if name in known
    ]
    if not prices:
        return platform_error(404, "not_found", "No pricing information found")
    return JSONResponse({"prices": prices, "has_more": False, "next_cursor": None})


@history.get("/v1/models/billing-events")
async def billing_events(
    request: Request,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    endpoint_id: Annotated[list[str] | None, Query(max_length=50)] = None,
    request_id: Annotated[list[str] | None, Query(max_length=50)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 50,
    cursor: str | None = None,
) -> Response:
    """Billing events of finished requests from the sandbox's ledger, newest first."""
    account = authorise(request)
    if not _may_read_bills(request):
        return platform_error(403, "authorization_error", "The key has no permission for billing")
    sandbox, now = of(request), datetime.now(UTC)
    if sandbox.faults.take("billing", "fal", ""):
        return platform_error(500, "server_error", "Internal server error")
    until = _aware(end, now)
    since = _aware(start, until - BILLING_WINDOW)
    if until - since > BILLING_SPAN:
        return platform_error(400, "validation_error", "start and end are more than 90 days apart")
    models, ids = _named(endpoint_id), _named(request_id)
    ended = {job.id: job for job in sandbox.jobs.all("fal", account) if job.ended_at and since <= job.ended_at < until}
    found = [
        (ended[each_entry.request_id], each_entry)
        for each_entry in sandbox.ledger.entries()
        if each_entry.request_id in ended
    ]
    chosen = [
        _billing_event(job, entry)
        for job, entry in sorted(found, key=lambda pair: (pair[0].ended_at, pair[0].id), reverse=True)
        if (models is None or job.model in models) and (ids is None or job.id in ids)
    ]
    after = next((i + 1 for i, each_request in enumerate(chosen) if each_request["request_id"] == cursor), 0)
    page, more = chosen[after : after + limit], after + limit < len(chosen)
    cursor = page[-1]["request_id"] if more else None
    return JSONResponse({"billing_events": page, "has_more": more, "next_cursor": cursor})


def _billing_event(job: SandboxJob, entry: LedgerEntry) -> dict[str, Any]:
    charge = float(entry.amount_usd)
    return {
        "request_id": job.id,
        "endpoint_id": job.model,
        "timestamp": _time(job.ended_at),
        "output_units": MODELS[job.model].quote(job.input).units,
        "unit_price": PRICES[job.model].micros / USD,
        "percent_discount": 0,
        "cost_subtotal": charge,
        "cost_discount": 0,
        "cost_total": charge,
        "cost_estimate_nano_usd": int(entry.amount_usd * 1_000_000_000),
    }


def _named(given: list[str] | None) -> set[str] | None:
    """Names in a repeated or comma-separated parameter; None without a filter."""
    return {name for item in given for name in item.split(",")} if given is not None else None


def platform_error(status: int, kind: str, message: str) -> Response:
    """Error in the format of fal's platform API."""
    return JSONResponse({"error": {"type": kind, "message": message}}, status)


@history.get("/v1/models/requests/by-endpoint")
async def requests_by_endpoint(
    request: Request,
    *,
    endpoint_id: Annotated[list[str], Query(max_length=50)],
    start: datetime | None = None,
    end: datetime | None = None,
    status: str | None = None,
    request_id: str | None = None,
    expand: Annotated[list[str] | None, Query(max_length=10)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: str | None = None,
) -> Response:
    """Finished requests, newest first; fal's history omits running ones."""
    account = authorise(request)
    endpoints = {name for item in endpoint_id for name in item.split(",")}
    now, window = datetime.now(UTC), HISTORY_OF_ONE if request_id else HISTORY_WINDOW
    since, until = _aware(start, now - window), _aware(end, now)
    found = [
        job
        for job in of(request).jobs.all("fal", account)
        if job.ended_at
        and job.listed
        and job.model in endpoints
        and since <= job.ended_at < until
        and request_id in (None, job.id)
        and status in (None, "success" if job.output else "user_error")
    ]
    found.sort(key=lambda job: (job.ended_at, job.id), reverse=True)
    after = next((i + 1 for i, job in enumerate(found) if job.id == cursor), 0)
    page = found[after : after + limit]
    more = after + limit < len(found)
    payloads = expand is not None and "payloads" in ",".join(expand).split(",")
    items = [_history_item(job, payloads) for job in page]
    return JSONResponse({"items": items, "has_more": more, "next_cursor": page[-1].id if more else None})


def _history_item(job: SandboxJob, payloads: bool) -> dict[str, Any]:
    item: dict[str, Any] = {
        "request_id": job.id,
        "endpoint_id": job.model,
        "sent_at": _time(job.created_at),
        "started_at": _time(job.started_at or job.created_at),
        "ended_at": _time(job.ended_at),
        "status_code": job.failure.status_code if job.failure else 200,
        "duration": _seconds(job),
    }
    if payloads:
        output = {"detail": job.failure.detail} if job.failure else job.output
        bare = "history_bare" in job.faults
        item |= {"json_input": None if bare else job.input, "json_output": None if bare else output}
    return item


def _aware(given: datetime | None, default: datetime) -> datetime:
    if given is None:
        return default
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def _seconds(job: SandboxJob) -> float:
    if job.started_at is None or job.ended_at is None:
        return 0.0
    return (job.ended_at - job.started_at).total_seconds()
