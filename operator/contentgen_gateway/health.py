"""`/health` and `/ready` for the kubelet, and `/metrics` for Prometheus on a port of its own."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Route

from contentgen_gateway import metrics
from contentgen_gateway.parts import Using
from contentgen_gateway.problems import RESPONSES, Problem

router = APIRouter(tags=["health"])


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


def metrics_app() -> Starlette:
    """`/metrics` and nothing else, for a port that people do not reach."""
    return Starlette(routes=[Route("/metrics", _exposition)])


async def _exposition(_: Request) -> Response:
    return Response(metrics.exposition(), media_type=metrics.CONTENT_TYPE)
