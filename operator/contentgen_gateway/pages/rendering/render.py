"""Rendering of a page: common variables of the templates, and response headers."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from contentgen_gateway.auth import csrf
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.injection import dependencies_of
from contentgen_gateway.pages.rendering import filters, static_files

THEME = "contentgen-theme"
THEMES = ("auto", "light", "dark")
_NOTICES = {
    "saved": "Saved.",
    "signed-out": "You have signed out.",
    "cancelling": "The run is being cancelled.",
    "again": "Another run has been requested.",
    "approved": "The run is approved.",
    "rejected": "The run is rejected; nothing is paid for it.",
    "resumed": "The job is resumed.",
    "resent": "The notification is delivered again.",
    "fetching": "The paid result will be fetched again, without another payment.",
    "deleted": "The job and its files are being deleted.",
    "deleted-collection": "The collection is deleted. Its jobs stay.",
    "shared": "The job is shared.",
    "unshared": "The shares are removed.",
    "added": "The job is in the collection.",
    "removed": "The job is no longer in the collection.",
}
"""Notices after a change, by the query parameter `said`."""


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """Entry of the navigation."""

    path: str
    name: str
    icon: str


PLACES = (
    NavigationEntry("/", "Dashboard", "layout-dashboard"),
    NavigationEntry("/jobs", "Jobs", "list"),
    NavigationEntry("/given-up", "Given up", "rotate-ccw"),
    NavigationEntry("/pictures", "Pictures", "images"),
    NavigationEntry("/loras", "LoRAs", "layers"),
    NavigationEntry("/transcripts", "Transcripts", "audio-lines"),
    NavigationEntry("/collections", "Collections", "folders"),
    NavigationEntry("/usage", "Usage", "wallet"),
)


@cache
def environment() -> Environment:
    """Template environment, with escaping; an undefined variable raises an error."""
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= filters.FILTERS
    made.globals |= {"icon": static_files.icon, "static": static_files.address, "places": PLACES, "themes": THEMES}
    return made


def render(
    request: Request,
    template: str,
    caller: Caller | None = None,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    find: str = "",
    **context: Any,
) -> Response:
    """Rendered page; `caller` is None before sign-in. Raises TypeError if `context` has a common variable."""
    dependencies = dependencies_of(request)
    refused = getattr(request.state, "refused", None)
    common = {
        "refused": refused,
        "ui": environment().get_template("ui.html").make_module({"refused": refused}),
        "caller": caller,
        "csrf": csrf.token(request),
        "here": request.url.path,
        "now": dependencies.clock(),
        "open_to_all": dependencies.settings.gateway_sign_in == "None",
        "query": request.url.query,
        "find": find,
        "said": _NOTICES.get(request.query_params.get("said", "")),
        "theme": theme(request),
    }
    content = environment().get_template(template).render(**common, **context)
    response = HTMLResponse(content, status, headers=protection(dependencies.files.origin) | (headers or {}))
    csrf.remember(request, response)
    return response


def theme(request: Request) -> str:
    """Chosen theme: light, dark, or auto."""
    chosen = request.cookies.get(THEME, "")
    return chosen if chosen in THEMES else THEMES[0]


def protection(bucket: str) -> dict[str, str]:
    """Security headers of a page: own scripts and styles only, media from `bucket` (an origin), no frames."""
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "font-src": "'self'",
        "connect-src": "'self'",
        "img-src": f"'self' {bucket}",
        "media-src": f"'self' {bucket}",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
