"""What tests and people use and no provider has: the ledger, the faults, the page."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from contentgen_sandbox.faults import Fault
from contentgen_sandbox.page import page
from contentgen_sandbox.sandbox import of

router = APIRouter()
MAX_FAULTS = 100


@router.get("/healthz")
async def healthz() -> Response:
    return PlainTextResponse("ok")


@router.get("/")
async def index(request: Request) -> Response:
    sandbox = of(request)
    return HTMLResponse(page(sandbox.ledger.entries(), sandbox.faults.armed()))


@router.get("/sandbox/ledger")
async def read_ledger(request: Request) -> Response:
    return JSONResponse(of(request).ledger.report())


@router.delete("/sandbox/ledger")
async def clear_ledger(request: Request) -> Response:
    of(request).ledger.clear()
    return Response(status_code=204)


@router.put("/sandbox/faults")
async def arm(faults: list[Fault], request: Request) -> Response:
    of(request).faults.arm(faults[:MAX_FAULTS])
    return _armed(request)


@router.get("/sandbox/faults")
async def armed(request: Request) -> Response:
    return _armed(request)


@router.delete("/sandbox/faults")
async def disarm(request: Request) -> Response:
    of(request).faults.arm([])
    return Response(status_code=204)


def _armed(request: Request) -> Response:
    return JSONResponse([fault.model_dump(exclude_none=True) for fault in of(request).faults.armed()])
