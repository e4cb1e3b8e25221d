"""Purchases without a resource, read from the gateway: Kubernetes has no data about them."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from contentgen_cli.gateway import GatewayClient

HEADS = ("NAMESPACE", "KIND", "NAME", "PROVIDER", "REQUEST", "STATE", "COST", "KEPT UNTIL", "TO DO")
_MOST_PAGES = 1000
_FIELDS = ("namespace", "kind", "name", "provider", "requestId", "state")
Orphan = dict[str, Any]


def list_orphans(gateway: GatewayClient, namespace: str | None) -> list[Orphan]:
    """All orphans of a namespace; None: of all namespaces that the token may list. Raises CliError."""
    return [each for page in _pages(gateway, namespace) for each in page]


def _pages(gateway: GatewayClient, namespace: str | None) -> Iterator[list[Orphan]]:
    asked = {"namespace": namespace} if namespace else {}
    for _ in range(_MOST_PAGES):
        page = gateway.request("GET", f"/api/orphans?{urlencode(asked)}")
        yield [orphan for orphan in page.get("orphans") or () if isinstance(orphan, dict)]
        if not (cursor := page.get("nextCursor")):
            return
        asked["cursor"] = str(cursor)


def rows(orphans: Sequence[Orphan]) -> list[tuple[str, ...]]:
    """Rows of the table."""
    return [_row(orphan) for orphan in orphans]


def _row(orphan: Orphan) -> tuple[str, ...]:
    cost = orphan.get("cost")
    amount = f"{'' if orphan.get('costKnown') else '~'}{cost} USD" if cost else "unknown"
    until = str(orphan.get("keptUntil") or "")[:10]
    return (*(str(orphan.get(name) or "") for name in _FIELDS), amount, until, str(orphan.get("advice") or ""))
