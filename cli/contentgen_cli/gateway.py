"""Client of the gateway's HTTP API, for data that Kubernetes does not have."""

import json
from typing import Any
from urllib.parse import urlsplit

from contentgen_cli.errors import ApiUnreachable, CliError, NotPermitted
from contentgen_contract.names import GATEWAY_AUDIENCE

_SECONDS = 30.0


def checked_access(gateway: str, token: str | None, namespace: str | None) -> str:
    """The token. Raises CliError for an invalid URL or a missing token; `namespace` is for the advice."""
    if urlsplit(gateway).scheme not in ("http", "https"):
        raise CliError(f"--gateway {gateway!r}: expected a URL such as http://localhost:5000")
    if not token:
        raise CliError(
            "the gateway requires a token; give one with --token or CONTENTGEN_TOKEN: kubectl create token default "
            f"--namespace {namespace or 'NAMESPACE'} --audience {GATEWAY_AUDIENCE}"
        )
    return token


def request(method: str, url: str, token: str) -> dict[str, Any]:
    """JSON object of a reply. Raises CliError."""
    import urllib3
    from urllib3.exceptions import HTTPError

    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    try:
        with urllib3.PoolManager(retries=False, timeout=_SECONDS) as pool:
            response = pool.request(method, url, headers=headers, redirect=False)
    except (HTTPError, UnicodeError) as error:
        raise ApiUnreachable(
            f"the gateway at {url.partition('?')[0]} does not respond: {type(error).__name__}; forward its port, or "
            f"give its "
            "URL with --gateway: kubectl port-forward --namespace contentgen service/contentgen-gateway 5000:80"
        ) from error
    return _read(response.status, response.data)


def _read(status: int, content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if status == 403 and isinstance(body, dict) and isinstance(body.get("detail"), str):
        raise NotPermitted(f"permission denied: {ascii(body['detail'])[1:-1][:300]}")
    if status in (401, 403):
        raise NotPermitted(f"the gateway rejects the token ({status}): it must have the audience {GATEWAY_AUDIENCE}")
    if status not in (200, 202) or not isinstance(body, dict):
        raise CliError(f"the gateway returned {status}; it may be older than this plugin")
    return body
