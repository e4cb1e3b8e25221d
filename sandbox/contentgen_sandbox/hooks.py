"""Receiver of webhooks, for the demo and the tests: it records each POST and answers as its query says."""

import asyncio
from collections import deque
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from contentgen_sandbox.sandbox import MAX_BODY

router = APIRouter()
_KEPT = 500  # requests, of all names together
_received: deque[dict[str, Any]] = deque(maxlen=_KEPT)


@router.post("/hooks/{name}")
async def receive(  # noqa: PLR0917 - a query has as many fields
    name: str,
    request: Request,
    status: Annotated[int, Query(ge=200, le=599)] = 204,
    fails: Annotated[int, Query(ge=0, le=100, description="Number of requests that are answered with 503.")] = 0,
    seconds: Annotated[float, Query(ge=0, le=120)] = 0,
    to: Annotated[str, Query(max_length=2048, description="Location of a redirect.")] = "",
) -> Response:
    """Record a webhook."""
    body = (await request.body())[:MAX_BODY]
    before = sum(webhook["name"] == name for webhook in _received)
    _received.append({"name": name, "headers": dict(request.headers), "body": body.decode(errors="replace")})
    await asyncio.sleep(seconds)
    if before < fails:
        return Response(status_code=503, headers={"Retry-After": "1"})
    return Response(status_code=status, headers={"Location": to} if to else None)


@router.get("/hooks/{name}")
async def received(name: str) -> JSONResponse:
    """Recorded webhooks of a name, oldest first."""
    return JSONResponse([webhook for webhook in _received if webhook["name"] == name])
