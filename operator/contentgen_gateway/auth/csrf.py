"""Protection against cross-site request forgery.

A form carries a token derived from a secret cookie of the browser: its session, or random bytes before sign-in. The
check is stateless, so any replica can do it. Requests of another origin are refused in any case.
"""

import hashlib
import hmac
import secrets
from typing import cast

from fastapi import Request, Response
from starlette.requests import HTTPConnection

from contentgen_contract.resources.addresses import split_url
from contentgen_gateway.problems import Problem

SESSION = "contentgen-session"
"""Session cookie, with the caller's token; `cookie_name` may add a prefix."""
VISITOR = "contentgen-visitor"
"""Cookie with random bytes before sign-in; `cookie_name` may add a prefix."""
FIELD = "csrf"
HEADER = "X-CSRF-Token"
_FORM = "application/x-www-form-urlencoded"
_SAFE = ("GET", "HEAD", "OPTIONS")
_BYTES = 24


def cookie_name(request: HTTPConnection, name: str) -> str:
    """Name of a cookie: with the prefix `__Host-` over TLS, which browsers accept from this host over TLS only.

    Only that name is then read, so that a sibling host or plain HTTP cannot set a session. Over plain HTTP browsers
    reject the prefix.
    """
    return f"__Host-{name}" if request.state.by_tls else name


def set_cookie(request: HTTPConnection, response: Response, name: str, value: str) -> None:
    """Set a session cookie that scripts and other sites cannot use."""
    by_tls = request.state.by_tls
    name = cookie_name(request, name)
    response.set_cookie(name, value, path="/", httponly=True, samesite="strict", secure=by_tls)


def delete_cookie(request: HTTPConnection, response: Response, name: str) -> None:
    """Delete a cookie."""
    by_tls = request.state.by_tls
    response.delete_cookie(cookie_name(request, name), path="/", httponly=True, samesite="strict", secure=by_tls)


def session(request: HTTPConnection) -> str | None:
    """Token of the session cookie; None if there is none."""
    return request.cookies.get(cookie_name(request, SESSION))


def token(request: Request) -> str:
    """Token for the forms of a page. `remember` sets the cookie that it is derived from, if it is new."""
    return _token_of(_seed(request) or _fresh(request))


def remember(request: Request, response: Response) -> None:
    """Set the visitor cookie if the page's token is derived from a new one."""
    if _seed(request) is None and (fresh := getattr(request.state, "visitor", None)):
        set_cookie(request, response, VISITOR, fresh)


def _host_of(origin: str) -> str | None:
    parts = split_url(origin)
    return parts.netloc if parts is not None else None


def refuse_foreign(request: Request) -> None:
    """Raises Problem 403 for a change that a browser sends from another site's page."""
    if request.method in _SAFE:
        return
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    elsewhere = origin is not None and _host_of(origin) != request.headers.get("host")
    if elsewhere or site not in (None, "same-origin", "none"):
        raise Problem(403, "this request comes from a page of another site; open the gateway itself and try again")


async def check(request: Request) -> None:
    """Raises Problem 403 for a change without the token of its browser."""
    refuse_foreign(request)
    if request.method in _SAFE:
        return
    given = request.headers.get(HEADER)
    if given is None and request.headers.get("content-type", "").startswith(_FORM):
        field = (await request.form()).get(FIELD)
        given = field if isinstance(field, str) else None
    seed = _seed(request)
    if seed is None or given is None or not hmac.compare_digest(given.encode(), _token_of(seed).encode()):
        raise Problem(
            403, f"the form's token ({FIELD}, or the header {HEADER}) is missing or outdated; reload the page"
        )


def _seed(request: Request) -> str | None:
    return session(request) or request.cookies.get(cookie_name(request, VISITOR))


def _fresh(request: Request) -> str:
    if not hasattr(request.state, "visitor"):
        request.state.visitor = secrets.token_urlsafe(_BYTES)
    return cast("str", request.state.visitor)


def _token_of(seed: str) -> str:
    return hashlib.sha256(b"contentgen csrf\0" + seed.encode()).hexdigest()
