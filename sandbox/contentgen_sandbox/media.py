"""File endpoints: uploaded media, results of the providers, and AssemblyAI's uploads."""

import asyncio
import secrets
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from contentgen_sandbox import hostile
from contentgen_sandbox.sandbox import NAME, Sandbox, of

router = APIRouter()
METHODS = ["GET", "HEAD"]
_TICK = 0.1  # seconds


async def receive_file(request: Request, folder: Path, name: str, max_bytes: int) -> int:
    """Write the body atomically to `folder/name`; returns its size in bytes. Raises HTTPException 413."""
    part = folder / f".{secrets.token_hex(8)}.part"
    size = 0
    try:
        with part.open("wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise HTTPException(413, f"larger than {max_bytes} bytes")
                file.write(chunk)
        part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)
    return size


def checked(name: str) -> str:
    """Valid file name. Raises HTTPException 400 for a name that could leave its folder."""
    if not NAME.fullmatch(name):
        raise HTTPException(400, f"a name matches {NAME.pattern}")
    return name


def media_folder(sandbox: Sandbox) -> Path:
    return _made(sandbox.settings.data / "media")


def uploads_folder(sandbox: Sandbox) -> Path:
    return _made(sandbox.settings.data / "uploads")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _file(path: Path) -> Response:
    if not path.is_file():
        raise HTTPException(404, "no such file")
    return FileResponse(path)


@router.put("/media/{name}")
async def put_media(name: str, request: Request) -> JSONResponse:
    sandbox = of(request)
    size = await receive_file(request, media_folder(sandbox), checked(name), sandbox.settings.media_bytes)
    return JSONResponse({"url": f"{request.base_url}media/{name}", "size": size}, 201)


@router.api_route("/media/{name}", methods=METHODS)
async def get_media(name: str, request: Request, seconds: Annotated[float, Query(ge=0, le=120)] = 0) -> Response:
    """File or byte range, optionally throttled so that the whole file takes some seconds."""
    path = media_folder(of(request)) / checked(name)
    answer = _file(path)
    return _Paced(path, path.stat().st_size / seconds) if seconds else answer


class _Paced(FileResponse):
    """Response at a limited number of bytes per second."""

    def __init__(self, path: Path, rate: float) -> None:
        super().__init__(path)
        self.chunk_size = max(1, round(rate * _TICK))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def paced(message: Message) -> None:
            await send(message)
            if message.get("body"):
                await asyncio.sleep(_TICK)

        await super().__call__(scope, receive, paced)


@router.api_route("/uploads/{name}", methods=METHODS)
async def get_upload(name: str, request: Request) -> Response:
    return _file(uploads_folder(of(request)) / checked(name))


@router.api_route("/files/{job_id}/{name}", methods=METHODS)
async def get_result(job_id: str, name: str, request: Request) -> Response:
    sandbox = of(request)
    job = sandbox.jobs.get(job_id)
    if job is None:
        raise HTTPException(404, "no such file")
    path = sandbox.jobs.files(job.id) / checked(name)
    return hostile.spoiled(path, job.faults) or _file(path)
