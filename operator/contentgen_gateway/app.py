"""The FastAPI app: routes, pages, error handlers and middleware."""

from typing import Any

from fastapi import Depends, FastAPI

from contentgen_gateway import health, pages, problems
from contentgen_gateway.api import (
    actions,
    admin,
    assets,
    collections,
    create,
    docs,
    downloads,
    jobs,
    lora,
    notifications,
    orphans,
    sharing,
    stream,
    transcripts,
    usage,
)
from contentgen_gateway.dependencies import Dependencies, Services
from contentgen_gateway.middleware import stack
from contentgen_gateway.middleware.leniency import reject_repeated_parameters
from contentgen_gateway.schemas import refusals

_ROUTERS = (
    health.router,
    docs.router,
    jobs.router,
    stream.router,
    transcripts.router,
    lora.dataset_router,
    lora.router,
    assets.router,
    assets.short,
    usage.stats_router,
    downloads.router,
    usage.router,
    orphans.router,
    create.router,
    actions.router,
    actions.deletion_router,
    notifications.router,
    notifications.keys_router,
    sharing.edit_router,
    sharing.router,
    admin.router,
    collections.router,
)


def create_app(dependencies: Dependencies) -> FastAPI:
    """App with its stores, services and middleware."""
    app = endpoints()
    app.state.dependencies = dependencies
    app.state.services = Services(dependencies)
    stack.install(app, dependencies)
    return app


def document() -> dict[str, Any]:
    """OpenAPI document of the API, without the pages."""
    return endpoints().openapi()


def endpoints() -> FastAPI:
    """App with routes and error handlers only, for the OpenAPI document and for tests."""
    app = FastAPI(
        title="contentgen",
        description="Jobs, and the assets that they made: list, search, share, download.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    problems.install(app, pages.page)
    refusals.install(app)
    for router in _ROUTERS:
        app.include_router(router, dependencies=[Depends(reject_repeated_parameters)])
    app.include_router(pages.router)
    return app
