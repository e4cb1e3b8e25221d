"""Misbehaving web host for download tests, one case per path.

Cases that violate HTTP write directly to the connection. Every case ends within `_PATIENCE_S`.
"""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from contentgen_sandbox.faults import connection, drop

router = APIRouter(prefix="/hostile")
METADATA = "http://169.254.169.254/latest/meta-data/"
PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to download.</body></html>"
REDIRECTS = (301, 302, 303, 307, 308)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n"
_PATIENCE_S = 300
_CHUNK = bytes(64 * 1024)


@router.get("/status/{code}")
async def status(code: int) -> Response:
    """Response with this status code."""
    if not 400 <= code < 600:
        raise HTTPException(404, "an error's code")
    return Response("no", code, media_type="text/plain")


@router.get("/redirect/{code}")
async def redirect(code: int, to: str) -> Response:
    """Redirect with one of the five codes to any URL."""
    if code not in REDIRECTS:
        raise HTTPException(404, f"one of {REDIRECTS}")
    return Response(status_code=code, headers={"Location": to})


@router.get("/loop")
async def loop() -> Response:
    """Redirect loop."""
    return RedirectResponse("loop", 302)


@router.get("/endless")
async def endless() -> Response:
    """Endless stream without Content-Length."""
    return StreamingResponse(_endless(), media_type="video/mp4")


async def _endless() -> AsyncIterator[bytes]:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        yield _CHUNK
        await asyncio.sleep(0)


@router.get("/html")
async def html() -> Response:
    """HTML sign-in page with status 200."""
    return HTMLResponse(PAGE)


@router.get("/text")
async def text() -> Response:
    """Text with a video content type."""
    return Response(b"these are words and no film\n" * 1000, media_type="video/mp4")


@router.get("/empty")
async def empty() -> Response:
    """Empty body."""
    return Response(b"", media_type="video/mp4")


@router.get("/compressed")
async def compressed() -> Response:
    """Body that is declared as gzip, and is none."""
    return Response(_CHUNK, media_type="video/mp4", headers={"Content-Encoding": "gzip"})


@router.get("/huge")
async def huge(request: Request) -> Response:
    """Content-Length of a terabyte."""
    return await _raw(request, _announces_a_terabyte)


async def _announces_a_terabyte(to: asyncio.Transport) -> None:
    to.write(_HEAD + b"Content-Length: 1099511627776\r\n\r\n" + _CHUNK)
    await asyncio.sleep(1)


@router.get("/short")
async def short(request: Request) -> Response:
    """Body shorter than Content-Length."""
    return await _raw(request, _less)


async def _less(to: asyncio.Transport) -> None:
    to.write(_HEAD + b"Content-Length: 1000000\r\n\r\n" + _CHUNK)
    await asyncio.sleep(0.2)


@router.get("/long")
async def long(request: Request) -> Response:
    """Endless body beyond Content-Length."""
    return await _raw(request, _more)


async def _more(to: asyncio.Transport) -> None:
    to.write(_HEAD + b"Content-Length: 1000\r\n\r\n")
    await _drip(to, [_CHUNK] * 100, 0.02)


@router.get("/reset")
async def reset(request: Request) -> Response:
    """Connection reset in the middle of the body."""
    return await _raw(request, _reset)


async def _reset(to: asyncio.Transport) -> None:
    to.write(_HEAD + b"Content-Length: 1000000\r\n\r\n" + _CHUNK)
    await asyncio.sleep(0.2)
    # Closed without lingering, a connection ends with RST.
    to.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@router.get("/drip")
async def drip(request: Request) -> Response:
    """Body that arrives a few bytes at a time."""
    return await _raw(request, _slow_body)


async def _slow_body(to: asyncio.Transport) -> None:
    to.write(_HEAD + b"Content-Length: 1000000\r\n\r\n")
    await _drip(to, [b"x"] * _PATIENCE_S, 1)


@router.get("/slow-head")
async def slow_head(request: Request, pause: float = 1) -> Response:
    """One header per second; every read gets a byte, and the body never begins."""
    return await _raw(request, lambda to: _drip(to, [_HEAD, *[b"X-Wait: yes\r\n"] * _PATIENCE_S], min(pause, 5)))


@router.get("/silent")
async def silent(request: Request) -> Response:
    """Accepted request without a response."""
    return await _raw(request, lambda to: _drip(to, [b""] * _PATIENCE_S, 1))


async def _drip(to: asyncio.Transport, pieces: Sequence[bytes], pause: float) -> None:
    for piece in pieces:
        if to.is_closing():
            return
        to.write(piece)
        await asyncio.sleep(pause)


async def _raw(request: Request, answer: Callable[[asyncio.Transport], Awaitable[None]]) -> Response:
    """Let `answer` write to the connection, then close it; later output of the framework is lost."""
    await answer(connection(request))
    await drop(request)
    return Response()


def spoiled(path: Path, faults: Sequence[str]) -> Response | None:
    """Corrupted response for the result of a marked request."""
    if "result_url_dead" in faults:
        raise HTTPException(404, "no such file")
    if "result_private" in faults:
        return RedirectResponse(METADATA, 302)
    if "result_html" in faults:
        return HTMLResponse(PAGE)
    if "result_huge" in faults:
        # A body shorter than Content-Length would end the connection; clients disconnect before.
        return StreamingResponse(_endless(), headers={"Content-Length": str(2**40)})
    if "result_truncated" in faults and path.is_file():
        content = path.read_bytes()
        return Response(content[: len(content) // 2], media_type="application/octet-stream")
    return None
