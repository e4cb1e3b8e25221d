"""FastAPI application of the simulated providers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from contentgen_sandbox import hooks, hostile, media
from contentgen_sandbox.assemblyai import assemblyai
from contentgen_sandbox.control import control
from contentgen_sandbox.fal import fal, models
from contentgen_sandbox.faults import Faults
from contentgen_sandbox.jobs import JobProgress, Jobs, Provider, Runner, SandboxJob
from contentgen_sandbox.ledger import SandboxLedger
from contentgen_sandbox.sandbox import Sandbox
from contentgen_sandbox.settings import SandboxSettings


def make_sandbox(settings: SandboxSettings) -> Sandbox:
    """Load the data folder; requests accepted before a restart are processed again."""
    data = settings.data
    data.mkdir(parents=True, exist_ok=True)
    jobs = Jobs(data / "jobs", data / "files", settings.kept_jobs)
    ledger = SandboxLedger(data / "ledger.jsonl")
    shop = models.Shop(settings, jobs)

    def work(job: SandboxJob, progress: JobProgress) -> dict[str, Any]:
        if job.provider == "assemblyai":
            return assemblyai.transcribe(job, progress, settings, ledger)
        return models.run(job, progress, shop)

    def seconds(job: SandboxJob) -> float:
        if job.provider == "assemblyai":
            return settings.transcript_seconds
        return models.seconds(job, settings)

    parallel: dict[Provider, int] = {"fal": settings.fal_parallel, "assemblyai": settings.assemblyai_parallel}
    return Sandbox(settings, ledger, Faults(), jobs, Runner(jobs, work, seconds, parallel))


def create_app(settings: SandboxSettings) -> FastAPI:
    sandbox = make_sandbox(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sandbox.runner.resume()
        try:
            yield
        finally:
            sandbox.runner.close()

    app = FastAPI(title="contentgen sandbox", lifespan=lifespan)
    app.state.sandbox = sandbox
    for router in (
        control.router,
        media.router,
        hooks.router,
        hostile.router,
        fal.history,
        fal.router,
        assemblyai.router,
    ):
        app.include_router(router)
    app.add_middleware(KeepReceive)
    app.add_exception_handler(assemblyai.RequestRefused, _assemblyai_error)
    app.add_exception_handler(fal.PlatformError, _platform_error)
    app.add_exception_handler(RequestValidationError, _invalid_query)
    return app


class KeepReceive:
    """ASGI middleware that stores the server's own `receive` for faults.connection before frameworks wrap it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["contentgen.receive"] = receive
        await self._app(scope, receive, send)


async def _platform_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, fal.PlatformError):
        raise error
    return JSONResponse({"error": {"type": error.kind, "message": error.detail}}, error.status_code)


async def _invalid_query(request: Request, error: Exception) -> Response:
    """Error of an invalid query, in the form of the provider that was asked."""
    if not isinstance(error, RequestValidationError):
        raise error
    text = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
    if request.url.path.startswith("/fal-api/"):
        return JSONResponse({"error": {"type": "validation_error", "message": text}}, 400)
    if request.url.path.startswith("/assemblyai/"):
        return JSONResponse({"error": text}, 400)
    return await request_validation_exception_handler(request, error)


async def _assemblyai_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, assemblyai.RequestRefused):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code)
