"""That a request which changes something comes from a page of ours, and not from another site in the same browser.

A page holds a token made of what only this browser has: its session, or before that a cookie of random bytes. Nothing
is kept here, so any replica can check it. What names another origin is refused in any case.
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
"""Cookie with the token of a browser that signed in, under the name that `cookie_name` makes of this."""
VISITOR = "contentgen-visitor"
"""Cookie with random bytes of a browser that has not signed in, likewise."""
FIELD = "csrf"
HEADER = "X-CSRF-Token"
_FORM = "application/x-www-form-urlencoded"
_SAFE = ("GET", "HEAD", "OPTIONS")
_BYTES = 24


def cookie_name(request: HTTPConnection, name: str) -> str:
    """With the prefix `__Host-` by TLS: browsers take such a cookie by TLS alone, from this very host and for it alone.

    Only that name is read then, so that a neighbouring host or plain HTTP cannot plant a session. By plain HTTP
    browsers refuse the prefix.
    """
    return f"__Host-{name}" if request.state.by_tls else name


def set_cookie(request: HTTPConnection, response: Response, name: str, value: str) -> None:
    """A cookie for the time of the browser's session that no script and no other site's page can use."""
    by_tls = request.state.by_tls
    name = cookie_name(request, name)
    response.set_cookie(name, value, path="/", httponly=True, samesite="strict", secure=by_tls)


def delete_cookie(request: HTTPConnection, response: Response, name: str) -> None:
    """The browser forgets it."""
    by_tls = request.state.by_tls
    response.delete_cookie(cookie_name(request, name), path="/", httponly=True, samesite="strict", secure=by_tls)


def session(request: HTTPConnection) -> str | None:
    """The token of a browser that signed in."""
    return request.cookies.get(cookie_name(request, SESSION))


def token(request: Request) -> str:
    """What a form on this page carries. A browser without any cookie of ours gets one with the page (`remember`)."""
    return _of(_seed(request) or _fresh(request))


def remember(request: Request, response: Response) -> None:
    """Give a browser what its token was made of."""
    if _seed(request) is None and (fresh := getattr(request.state, "visitor", None)):
        set_cookie(request, response, VISITOR, fresh)


def _host_of(origin: str) -> str | None:
    parts = split_url(origin)
    return parts.netloc if parts is not None else None


def refuse_foreign(request: Request) -> None:
    """Raises Problem 403 where a browser says that another site sends this."""
    if request.method in _SAFE:
        return
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    elsewhere = origin is not None and _host_of(origin) != request.headers.get("host")
    if elsewhere or site not in (None, "same-origin", "none"):
        raise Problem(403, "this request comes from another site's page; open the gateway itself and try again there")


async def check(request: Request) -> None:
    """Raises Problem 403 unless a request that changes something carries the token of its browser."""
    refuse_foreign(request)
    if request.method in _SAFE:
        return
    given = request.headers.get(HEADER)
    if given is None and request.headers.get("content-type", "").startswith(_FORM):
        field = (await request.form()).get(FIELD)
        given = field if isinstance(field, str) else None
    seed = _seed(request)
    if seed is None or given is None or not hmac.compare_digest(given.encode(), _of(seed).encode()):
        raise Problem(403, f"the form's token ({FIELD}, or the header {HEADER}) is missing or old; load the page again")


def _seed(request: Request) -> str | None:
    return session(request) or request.cookies.get(cookie_name(request, VISITOR))


def _fresh(request: Request) -> str:
    if not hasattr(request.state, "visitor"):
        request.state.visitor = secrets.token_urlsafe(_BYTES)
    return cast("str", request.state.visitor)


def _of(seed: str) -> str:
    return hashlib.sha256(b"contentgen csrf\0" + seed.encode()).hexdigest()
