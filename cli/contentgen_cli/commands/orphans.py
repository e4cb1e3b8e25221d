"""Purchases without a resource, read from the gateway: Kubernetes has no data about them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from contentgen_cli.errors import ApiUnreachable, CliError, NotPermitted
from contentgen_contract.names import GATEWAY_AUDIENCE
from contentgen_contract.worker.log import printable

HEADS = ("NAMESPACE", "KIND", "NAME", "PROVIDER", "REQUEST", "STATE", "COST", "KEPT UNTIL", "TO DO")
_SECONDS = 30.0
_MOST_PAGES = 1000
_FIELDS = ("namespace", "kind", "name", "provider", "requestId", "state")
Orphan = dict[str, Any]


def list_orphans(gateway: str, token: str | None, namespace: str | None) -> list[Orphan]:
    """All orphans of a namespace; None: of all namespaces that the token may list. Raises CliError."""
    if urlsplit(gateway).scheme not in ("http", "https"):
        raise CliError(f"--gateway {gateway!r}: expected a URL such as http://localhost:5000")
    if not token:
        raise CliError(
            "the gateway requires a token; give one with --token or CONTENTGEN_TOKEN: kubectl create token default "
            f"--namespace {namespace or 'NAMESPACE'} --audience {GATEWAY_AUDIENCE}"
        )
    return [each for page in _pages(gateway.rstrip("/"), token, namespace) for each in page]


def _pages(gateway: str, token: str, namespace: str | None) -> Iterator[list[Orphan]]:
    asked = {"namespace": namespace} if namespace else {}
    for _ in range(_MOST_PAGES):
        page = _get(f"{gateway}/api/orphans?{urlencode(asked)}", token)
        yield [each for each in page.get("orphans") or () if isinstance(each, dict)]
        if not (cursor := page.get("nextCursor")):
            return
        asked["cursor"] = str(cursor)


def _get(url: str, token: str) -> dict[str, Any]:
    import urllib3
    from urllib3.exceptions import HTTPError

    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    try:
        with urllib3.PoolManager(retries=False, timeout=_SECONDS) as pool:
            response = pool.request("GET", url, headers=headers, redirect=False)
    except (HTTPError, UnicodeError) as error:
        raise ApiUnreachable(
            f"the gateway at {url.partition('?')[0]} does not respond: {type(error).__name__}; forward its port, or "
            f"give its "
            "URL with --gateway: kubectl port-forward --namespace contentgen service/contentgen-gateway 5000:80"
        ) from error
    return _read(response.status, response.data)


def _read(status: int, content: bytes) -> dict[str, Any]:
    if status in (401, 403):
        raise NotPermitted(f"the gateway rejects the token ({status}): it must have the audience {GATEWAY_AUDIENCE}")
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if status != 200 or not isinstance(body, dict):
        raise CliError(f"the gateway returned {status}; it may be older than this plugin")
    return body


def rows(orphans: Sequence[Orphan]) -> list[tuple[str, ...]]:
    """Rows of the table."""
    return [tuple(printable(each) for each in _row(orphan)) for orphan in orphans]


def _row(orphan: Orphan) -> tuple[str, ...]:
    cost = orphan.get("cost")
    amount = f"{'' if orphan.get('costKnown') else '~'}{cost} USD" if cost else "unknown"
    until = str(orphan.get("keptUntil") or "")[:10]
    return (*(str(orphan.get(name) or "") for name in _FIELDS), amount, until, str(orphan.get("advice") or ""))
