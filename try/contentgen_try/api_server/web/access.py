"""Access control of requests: a loopback name as `Host`, and a valid bearer token."""

import ipaddress

from starlette.requests import Request

from contentgen_try.api_server.auth.tokens import MASTERS, Caller, Tokens
from contentgen_try.api_server.refusals import Refusal

_OPEN = ("/healthz", "/livez", "/readyz")


def require_loopback_name(host: str) -> None:
    """Raises Refusal 421 unless the `Host` header names the loopback interface.

    A page of another site can point its own name at 127.0.0.1 (DNS rebinding); its requests name that site.
    """
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    if name.lower() == "localhost":
        return
    try:
        if ipaddress.ip_address(name.strip("[]")).is_loopback:
            return
    except ValueError:
        pass
    raise Refusal(421, "the Host of the request must be localhost or an address of the loopback interface",
                  reason="MisdirectedRequest")  # fmt: skip


def authenticate(request: Request, tokens: Tokens) -> Caller:
    """Caller of a request; an administrator may impersonate others. Raises Refusal 401 or 403."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    found = tokens.caller(token.strip()) if scheme.lower() == "bearer" else None
    if found is None:
        raise Refusal(401, "Unauthorized")
    caller, _ = found
    user = request.headers.get("impersonate-user")
    if user is None:
        if any(name.startswith("impersonate-") for name in request.headers):
            raise Refusal(400, "requested impersonation without impersonating a user")
        return caller
    if MASTERS not in caller.groups:
        raise Refusal(403, f'users "{user}" is forbidden: User "{caller.name}" cannot impersonate resource "users"')
    groups = tuple(request.headers.getlist("impersonate-group"))
    return Caller(user, (*groups, "system:authenticated"))


def is_open(path: str) -> bool:
    """True for paths that need no token."""
    return path in _OPEN
