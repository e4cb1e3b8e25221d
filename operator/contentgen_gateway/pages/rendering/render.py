"""A page from its template: what each has, and the headers that each goes with."""

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
from contentgen_gateway.pages.rendering import static_files, words

THEME = "contentgen-theme"
THEMES = ("auto", "light", "dark")
_SAID = {
    "saved": "Saved.",
    "signed-out": "You have signed out.",
    "cancelling": "It is being cancelled.",
    "again": "It runs once more.",
    "resumed": "It goes on.",
    "fetching": "The paid result is fetched once more; nothing is paid.",
    "deleted": "It is deleted, with its files.",
    "deleted-collection": "The collection is deleted; its jobs stay.",
    "shared": "It is shared.",
    "unshared": "It is not shared any more.",
    "added": "It is in the collection.",
    "removed": "It is not in the collection any more.",
}
"""What a page says once after a change (`?said=`): words of ours alone."""


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """An entry of the navigation."""

    path: str
    name: str
    icon: str


PLACES = (
    NavigationEntry("/", "Dashboard", "layout-dashboard"),
    NavigationEntry("/jobs", "Jobs", "list"),
    NavigationEntry("/pictures", "Pictures", "images"),
    NavigationEntry("/loras", "LoRAs", "layers"),
    NavigationEntry("/transcripts", "Transcripts", "audio-lines"),
    NavigationEntry("/collections", "Collections", "folders"),
    NavigationEntry("/usage", "Usage", "wallet"),
)


@cache
def environment() -> Environment:
    """The templates, with everything escaped and nothing undefined."""
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= words.FILTERS
    made.globals |= {"icon": static_files.icon, "static": static_files.address, "places": PLACES, "themes": THEMES}
    made.globals["ui"] = made.get_template("ui.html").module
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
    """A page of one caller; None before there is one. Raises TypeError for a name that every page has."""
    dependencies = dependencies_of(request)
    common = {
        "caller": caller,
        "csrf": csrf.token(request),
        "here": request.url.path,
        "now": dependencies.clock(),
        "open_to_all": dependencies.settings.gateway_sign_in == "None",
        "query": request.url.query,
        "find": find,
        "said": _SAID.get(request.query_params.get("said", "")),
        "theme": theme(request),
    }
    content = environment().get_template(template).render(**common, **context)
    response = HTMLResponse(content, status, headers=protection(dependencies.files.origin) | (headers or {}))
    csrf.remember(request, response)
    return response


def theme(request: Request) -> str:
    """Light, dark, or as the browser's own."""
    chosen = request.cookies.get(THEME, "")
    return chosen if chosen in THEMES else THEMES[0]


def protection(bucket: str) -> dict[str, str]:
    """The headers of a page: only our own scripts and styles, pictures and sound from the bucket, no frames."""
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
