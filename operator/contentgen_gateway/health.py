"""Liveness, readiness and metrics.

They have a port of their own, so that load on the main port does not delay them. The main port serves `/health` and
`/ready` too.
"""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from contentgen_gateway import metrics
from contentgen_gateway.dependencies import Dependencies
from contentgen_gateway.injection import DependenciesDep
from contentgen_gateway.problems import RESPONSES, Problem
from contentgen_runtime.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process is alive, or ready."""

    status: Literal["ok"] = "ok"


@router.get("/health")
async def health() -> Health:
    """Liveness of the process."""
    return Health()


@router.get("/ready", responses={503: RESPONSES[503]})
async def ready(dependencies: DependenciesDep) -> Health:
    """Readiness: 503 if no request should be sent to this replica."""
    if why := await dependencies.lifecycle.unready(dependencies.records.ping):
        raise Problem(503, why, headers={"Retry-After": "5"})
    return Health()


def probes_app(dependencies: Dependencies) -> Starlette:
    """App of the port for the kubelet and Prometheus: `/health`, `/ready` and `/metrics` only."""

    async def alive(_: Request) -> Response:
        return JSONResponse((await health()).model_dump())

    async def readiness(_: Request) -> Response:
        try:
            return JSONResponse((await ready(dependencies)).model_dump())
        except Problem as problem:
            return problem.response()

    routes = {"/health": alive, "/ready": readiness, "/metrics": _exposition}
    return Starlette(routes=[Route(path, endpoint) for path, endpoint in routes.items()])


async def _exposition(_: Request) -> Response:
    return Response(metrics.exposition(), media_type=CONTENT_TYPE)
