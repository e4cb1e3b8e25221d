"""`/health` and `/ready` for the kubelet, and `/metrics` for Prometheus: on a port of their own, where no number of
clients of the other port keeps them waiting. `/health` and `/ready` are on the other port as well.
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
    """It answers."""

    status: Literal["ok"] = "ok"


@router.get("/health")
async def health() -> Health:
    """Whether the process is alive."""
    return Health()


@router.get("/ready", responses={503: RESPONSES[503]})
async def ready(dependencies: DependenciesDep) -> Health:
    """Whether requests should come to this replica."""
    if why := await dependencies.lifecycle.unready(dependencies.records.ping):
        raise Problem(503, why, headers={"Retry-After": "5"})
    return Health()


def probes_app(dependencies: Dependencies) -> Starlette:
    """`/health`, `/ready` and `/metrics` and nothing else, for a port that people do not reach."""

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
