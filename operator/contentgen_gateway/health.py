"""`/health`, `/ready` and `/metrics`: what the kubelet and Prometheus ask."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from contentgen_gateway import metrics
from contentgen_gateway.parts import Using
from contentgen_gateway.problems import RESPONSES, Problem

router = APIRouter(tags=["health"])
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


class Health(BaseModel):
    """It answers."""

    status: Literal["ok"] = "ok"


@router.get("/health")
async def health() -> Health:
    """Whether the process is alive."""
    return Health()


@router.get("/ready", responses={503: RESPONSES[503]})
async def ready(parts: Using) -> Health:
    """Whether requests should come to this replica."""
    if why := await parts.lifecycle.unready(parts.records.ping):
        raise Problem(503, why, headers={"Retry-After": "5"})
    return Health()


@router.get("/metrics", response_class=Response, responses=_TEXT)
async def exposition() -> Response:
    """What Prometheus is told."""
    return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)
