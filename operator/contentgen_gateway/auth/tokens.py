"""Token that a request carries: in its Authorization header, or in the session cookie."""

from starlette.requests import HTTPConnection

from contentgen_gateway.auth import csrf


def token_of(request: HTTPConnection) -> str | None:
    """Token of a request, not verified; None if it has none."""
    return bearer_token(request) or csrf.session(request)


def bearer_token(request: HTTPConnection) -> str | None:
    """Token of the Authorization header, not verified; None if it has none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" and token else None
