"""Static files: styles, scripts and fonts, read and compressed once, and cached by browsers.

The URL has one hash of all files, so that style sheets can refer to fonts by relative paths.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response
from markupsafe import Markup

from contentgen_gateway.problems import NotFound

_HERE = Path(__file__).parent
_VENDORED = _HERE / "vendored"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_FOR_EVER = "public, max-age=31536000, immutable"

router = APIRouter()


@dataclass(frozen=True, slots=True)
class StaticFile:
    """Static file with its compressed content."""

    content: bytes
    compressed: bytes
    media_type: str


@cache
def all_assets() -> dict[str, StaticFile]:
    """Static files by name."""
    paths = [each_path for folder in (_HERE / "static", _VENDORED) for each_path in sorted(folder.iterdir())]
    return {path.name: _asset(path) for path in paths if path.suffix in _TYPES}


def _asset(path: Path) -> StaticFile:
    content = path.read_bytes()
    return StaticFile(content, gzip.compress(content, mtime=0), _TYPES[path.suffix])


@cache
def digest() -> str:
    """Hash of all static files."""
    found = hashlib.sha256()
    for name, asset in sorted(all_assets().items()):
        found.update(name.encode() + b"\0" + asset.content)
    return found.hexdigest()[:16]


def address(name: str) -> str:
    """URL path of a static file. Raises KeyError."""
    all_assets()[name]
    return f"/static/{digest()}/{name}"


@cache
def icon(name: str) -> Markup:
    """Icon as inline SVG, hidden from screen readers: the text beside it says the same."""
    drawing = (_VENDORED / "icons" / f"{name}.svg").read_text()
    inside = drawing[drawing.index(">", drawing.index("<svg")) + 1 :]
    attributes = (
        'viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" '
        'stroke-linejoin="round" aria-hidden="true"'
    )
    return Markup(f'<svg class="icon" {attributes}>{inside.strip()}')  # noqa: S704 - a file of ours


@router.get("/static/{version}/{name}")
async def get_asset(version: str, name: str, accept_encoding: Annotated[str, Header()] = "") -> Response:
    """One file. With the hash of an older release, as in a page of another replica, the response is not cached."""
    asset = all_assets().get(name)
    if asset is None:
        raise NotFound("file", name)
    headers = {"Cache-Control": _FOR_EVER if version == digest() else "no-cache", "Vary": "Accept-Encoding"}
    if "gzip" in accept_encoding and asset.media_type != "font/woff2":
        return Response(asset.compressed, headers=headers | {"Content-Encoding": "gzip"}, media_type=asset.media_type)
    return Response(asset.content, headers=headers, media_type=asset.media_type)


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Icon at the path that browsers request by default."""
    return Response(
        all_assets()["mark.svg"].content, headers={"Cache-Control": "max-age=86400"}, media_type="image/svg+xml"
    )
