"""Files by name: media that a demo uploads, results that the providers made, and what AssemblyAI's upload takes."""

import secrets
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from contentgen_sandbox import hostile
from contentgen_sandbox.sandbox import NAME, Sandbox, of

router = APIRouter()
METHODS = ["GET", "HEAD"]


async def receive_file(request: Request, folder: Path, name: str, max_bytes: int) -> int:
    """Streams the body into `folder/name`, whole or not at all; returns its size. Raises: HTTPException 413."""
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
    """Raises: HTTPException 400, for a name that could leave its folder."""
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
async def get_media(name: str, request: Request) -> Response:
    return _file(media_folder(of(request)) / checked(name))


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
