"""fal.ai's queue and history API, compatible with fal-client 1.0.3."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response

from contentgen_sandbox.fal.endpoints import APPLICATIONS, ENDPOINTS
from contentgen_sandbox.fal.prices import FalCharge, charge, price_row
from contentgen_sandbox.faults import status_fault
from contentgen_sandbox.jobs import Failure, SandboxJob
from contentgen_sandbox.ledger import LedgerEntry
from contentgen_sandbox.sandbox import DISCOUNTED, SandboxPurchase, account_of, of, read_object, secret_of, url_marker
from contentgen_sandbox.settings import SandboxSettings

router = APIRouter(prefix="/fal")
history = APIRouter(prefix="/fal-api")
HISTORY_WINDOW = timedelta(hours=24)
HISTORY_OF_ONE = timedelta(days=90)  # for a query by request id
BILLING_WINDOW, BILLING_SPAN = timedelta(hours=24), timedelta(days=90)  # without a start; between start and end
_NOT_FOUND = 404
_SMALLEST_UNITS = Decimal("0.000001")
BILLING_KEY = "billing"  # prefix of keys with the billing permission
BILLED_AS = "fal-ai/another-application/pro"
"""FalEndpoint under which requests with the fault `billed_as` are billed."""
NANO_USD = 1_000_000_000


class PlatformError(HTTPException):
    """Error response of the platform API, rendered by app.py."""

    def __init__(self, status_code: int, kind: str, message: str) -> None:
        super().__init__(status_code, message)
        self.kind = kind


def authorise(request: Request) -> str:
    """Account of the key. Raises HTTPException 401 if the key is missing or `wrong`."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "key" or secret_of(key.strip()) in ("", "wrong"):
        raise HTTPException(401, "Authentication is required to access this application.")
    return account_of(key.strip())


def _platform_account(request: Request) -> str:
    """Account of the key. Raises PlatformError 401."""
    try:
        return authorise(request)
    except HTTPException as error:
        raise PlatformError(401, "authorization_error", str(error.detail)) from error


def _may_read_bills(request: Request) -> bool:
    """True if the key may read billing, which a request key may not."""
    return secret_of(request.headers["authorization"].partition(" ")[2].strip()).startswith(BILLING_KEY)


@router.post("/{owner}/{alias}")
@router.post("/{owner}/{alias}/{path:path}")
async def submit(request: Request, owner: str, alias: str, path: str = "") -> Response:
    account = authorise(request)
    endpoint = "/".join(part for part in (owner, alias, path) if part)
    if f"{owner}/{alias}" not in APPLICATIONS:
        raise HTTPException(404, f"Application '{endpoint}' not found")
    sandbox = of(request)
    if refused := await sandbox.refuse("fal", endpoint):
        return refused
    arguments = await read_object(request)
    if arguments is None:
        return JSONResponse({"detail": [{"loc": ["body"], "msg": "JSON decode error", "type": "json_invalid"}]}, 422)
    cost = _charge(endpoint, arguments, sandbox.settings)
    marker = _marker(endpoint, arguments)
    purchase = SandboxPurchase("fal", endpoint, arguments, cost.what, cost.usd, marker, account)
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


def _charge(model: str, arguments: Mapping[str, Any], settings: SandboxSettings) -> FalCharge:
    endpoint = ENDPOINTS.get(model)
    if endpoint is None:
        return FalCharge("unknown path of an application", Decimal(0), Decimal(0))
    return charge(endpoint, arguments, settings)


def _marker(model: str, arguments: Mapping[str, Any]) -> str | None:
    """Identity of a purchase: the path of its dataset's URL, or its seed."""
    endpoint = ENDPOINTS.get(model)
    if endpoint is not None and endpoint.kind == "trainer":
        return url_marker(arguments.get(endpoint.inputs("dataset")[0]))
    seed = arguments.get("seed")
    return None if seed is None else f"seed:{seed}"


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
        if job.failure and job.failure.status_code != _NOT_FOUND:  # an unknown path shows at the result alone
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
        return _failed(job, job.failure, request)
    headers = {"x-fal-billable-units": "0" if "units_zero" in job.faults else _units(job, request)}
    if "billed_as" in job.faults:
        headers["x-fal-bill-as"] = BILLED_AS
    return _no_longer(job) or JSONResponse(job.output, headers=headers)


def _failed(job: SandboxJob, failure: Failure, request: Request) -> Response:
    headers = {"x-fal-error-type": failure.kind}
    if _units(job, request) == "0":  # inputs that the model refuses, an unknown path
        headers["x-fal-billable-units"] = "0"
    if failure.status_code == _NOT_FOUND:
        return JSONResponse({"detail": failure.message}, _NOT_FOUND, headers)
    return JSONResponse({"detail": failure.detail}, failure.status_code, headers)


def _units(job: SandboxJob, request: Request) -> str:
    """Billable units as the header has them."""
    units = _charge(job.model, job.input, of(request).settings).units
    return f"{units.quantize(_SMALLEST_UNITS).normalize():f}"


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
    """Unit prices of the endpoints; one without a price fails the whole batch, as at fal."""
    _platform_account(request)
    settings, prices = of(request).settings, []
    for name in (name for item in endpoint_id for name in item.split(",")):
        row = price_row(ENDPOINTS[name], settings) if name in ENDPOINTS else None
        if row is None:
            raise PlatformError(404, "not_found", f"No pricing information found for {name}")
        prices.append({"endpoint_id": name, "unit_price": float(row.usd), "unit": row.unit, "currency": "USD"})
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
    account = _platform_account(request)
    if not _may_read_bills(request):
        raise PlatformError(403, "authorization_error", "The key has no permission for billing")
    sandbox, now = of(request), datetime.now(UTC)
    if sandbox.faults.take("billing", "fal", ""):
        raise PlatformError(500, "server_error", "Internal server error")
    until = _aware(end, now)
    since = _aware(start, until - BILLING_WINDOW)
    if until - since > BILLING_SPAN:
        raise PlatformError(400, "validation_error", "start and end are more than 90 days apart")
    models, ids = _named(endpoint_id), _named(request_id)
    jobs = sandbox.jobs.all("fal", account)
    ended = {job.id: job for job in jobs if job.billed and job.ended_at and since <= job.ended_at < until}
    found = [
        (ended[each_entry.request_id], each_entry)
        for each_entry in sandbox.ledger.entries()
        if each_entry.request_id in ended
    ]
    chosen = [
        _billing_event(job, entry, sandbox.settings)
        for job, entry in sorted(found, key=lambda pair: (pair[0].ended_at, pair[0].id), reverse=True)
        if (models is None or _billed_endpoint(job) in models) and (ids is None or job.id in ids)
    ]
    after = next((i + 1 for i, each_request in enumerate(chosen) if each_request["request_id"] == cursor), 0)
    page, more = chosen[after : after + limit], after + limit < len(chosen)
    cursor = page[-1]["request_id"] if more else None
    return JSONResponse({"billing_events": page, "has_more": more, "next_cursor": cursor})


def _billed_endpoint(job: SandboxJob) -> str:
    return BILLED_AS if "billed_as" in job.faults else job.model


def _billing_event(job: SandboxJob, entry: LedgerEntry, settings: SandboxSettings) -> dict[str, Any]:
    row = price_row(ENDPOINTS[job.model], settings) if job.model in ENDPOINTS else None
    discounted = "discounted" in job.faults
    before = entry.amount_usd / DISCOUNTED if discounted else entry.amount_usd
    return {
        "request_id": job.id,
        "endpoint_id": _billed_endpoint(job),
        "timestamp": _time(job.ended_at),
        "output_units": float(_charge(job.model, job.input, settings).units),
        "unit_price": None if row is None else float(row.usd),
        "percent_discount": float((1 - DISCOUNTED) * 100) if discounted else 0,
        "cost_subtotal": float(before),
        "cost_discount": float(before - entry.amount_usd),
        "cost_total": float(entry.amount_usd),
        "cost_estimate_nano_usd": int(entry.amount_usd * NANO_USD),
    }


def _named(given: list[str] | None) -> set[str] | None:
    """Names in a repeated or comma-separated parameter; None without a filter."""
    return {name for item in given for name in item.split(",")} if given is not None else None


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
    account = _platform_account(request)
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
        item |= {"json_input": None if bare else _listed_input(job), "json_output": None if bare else output}
    return item


def _listed_input(job: SandboxJob) -> dict[str, Any]:
    """The posted input; fal documents neither that nor its defaults."""
    if "history_filled" in job.faults and job.model in ENDPOINTS:
        return ENDPOINTS[job.model].with_defaults(job.input)
    return job.input


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
