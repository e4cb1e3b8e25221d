"""`/api-docs`: documentation of the API in Swagger UI.

Its files come from the package fastapi-offline: pages of the gateway run no scripts of other hosts.
"""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from contentgen_gateway.problems import NotFound

router = APIRouter(include_in_schema=False)
_OURS = Path(__file__).parent / "swagger"
_SWAGGER = Path(str(files("fastapi_offline"))) / "static"
_FILES = {
    "start.js": _OURS / "start.js",
    "swagger-ui-bundle.js": _SWAGGER / "swagger-ui-bundle.js",
    "swagger-ui.css": _SWAGGER / "swagger-ui.css",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"  # Swagger UI sets styles on its elements
)


@router.get("/api-docs")
async def page() -> FileResponse:
    """Page of Swagger UI."""
    return FileResponse(_OURS / "index.html", headers={"Content-Security-Policy": _POLICY})


@router.get("/api-docs/{file}")
async def part(file: str) -> FileResponse:
    """Script or style sheet of the page."""
    if file not in _FILES:
        raise NotFound("file", file)
    return FileResponse(_FILES[file], headers={"Cache-Control": "max-age=86400"})
