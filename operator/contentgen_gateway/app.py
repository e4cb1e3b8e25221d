"""The gateway's HTTP face."""

from typing import Any

from fastapi import Depends, FastAPI

from contentgen_gateway import (
    actions,
    admin,
    api_docs,
    assets,
    collections,
    create,
    dataset,
    deleting,
    downloads,
    editing,
    health,
    jobs,
    lora,
    orphans,
    pages,
    problems,
    refusals,
    sharing,
    shell,
    stats,
    stream,
    transcripts,
    usage,
)
from contentgen_gateway.leniency import each_once
from contentgen_gateway.parts import Parts

_ROUTERS = (
    health.router,
    api_docs.router,
    jobs.router,
    stream.router,
    transcripts.router,
    dataset.router,
    lora.router,
    assets.router,
    assets.short,
    stats.router,
    downloads.router,
    usage.router,
    orphans.router,
    create.router,
    actions.router,
    deleting.router,
    editing.router,
    sharing.router,
    admin.router,
    collections.router,
)


def create_app(parts: Parts) -> FastAPI:
    """The app over its parts."""
    app = endpoints()
    app.state.parts = parts
    shell.install(app, parts)
    return app


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return endpoints().openapi()


def endpoints() -> FastAPI:
    """The app without its parts and what is around them."""
    app = FastAPI(
        title="contentgen",
        description="Find, see, share and fetch what was made.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    problems.install(app, pages.page)
    refusals.install(app)
    for router in _ROUTERS:
        app.include_router(router, dependencies=[Depends(each_once)])
    app.include_router(pages.router)
    return app
