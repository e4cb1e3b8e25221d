"""FastAPI application of the simulated providers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from contentgen_sandbox import hooks, hostile, media
from contentgen_sandbox.assemblyai import assemblyai
from contentgen_sandbox.control import control
from contentgen_sandbox.fal import fal
from contentgen_sandbox.fal.models import MODELS, Shop
from contentgen_sandbox.faults import Faults
from contentgen_sandbox.jobs import JobProgress, Jobs, Runner, SandboxJob
from contentgen_sandbox.ledger import SandboxLedger
from contentgen_sandbox.sandbox import Sandbox
from contentgen_sandbox.settings import SandboxSettings


def make_sandbox(settings: SandboxSettings) -> Sandbox:
    """Load the data folder; requests accepted before a restart are processed again."""
    data = settings.data
    data.mkdir(parents=True, exist_ok=True)
    jobs = Jobs(data / "jobs", data / "files", settings.kept_jobs)
    ledger = SandboxLedger(data / "ledger.jsonl")
    shop = Shop(settings, jobs)

    def work(job: SandboxJob, progress: JobProgress) -> dict[str, Any]:
        if job.provider == "assemblyai":
            return assemblyai.transcribe(job, progress, settings, ledger)
        return MODELS[job.model].run(job, progress, shop)

    def seconds(job: SandboxJob) -> float:
        if job.provider == "assemblyai":
            return settings.transcript_seconds
        return MODELS[job.model].seconds(settings)

    return Sandbox(settings, ledger, Faults(), jobs, Runner(jobs, work, seconds))


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
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


class KeepReceive:
    """ASGI middleware that stores the server's own `receive` for faults.connection before frameworks wrap it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["contentgen.receive"] = receive
        await self._app(scope, receive, send)


async def _refused(request: Request, error: Exception) -> Response:
    """An error in the format of the API that was asked: fal's platform has one of its own."""
    if not isinstance(error, HTTPException):
        raise error
    if request.url.path.startswith(fal.history.prefix):
        kind = {401: "authorization_error", 403: "authorization_error", 404: "not_found"}.get(error.status_code)
        return fal.platform_error(error.status_code, kind or "server_error", str(error.detail))
    return await http_exception_handler(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    """A query or body that is not valid: 400 by fal's platform and by AssemblyAI, 422 by fal's models."""
    if not isinstance(error, RequestValidationError):
        raise error
    if request.url.path.startswith(fal.history.prefix):
        return fal.platform_error(400, "validation_error", str(error))
    if request.url.path.startswith(assemblyai.router.prefix):
        return JSONResponse({"error": str(error)}, 400)
    return await request_validation_exception_handler(request, error)


async def _assemblyai_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, assemblyai.RequestRefused):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code)
