"""Charges from fal's platform API, `GET /v1/models/billing-events`, by request id.

It needs a key with the permission for billing (fal's preset Billing, or an admin's key); others get a 403. A request
without a row has no recorded charge yet, which is not a charge of 0. fal documents no delay of the rows.
"""

import asyncio
import json
import ssl
from collections.abc import Collection as AnyOf
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx

from contentgen_contract.resources.prices import USD, amount
from contentgen_operator.providers.base import Unavailable, is_cursor, read_error, short_text
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.limits import HISTORY_BYTES, limit_replies_async, reply_limit
from contentgen_operator.providers.network import trusted_cas
from contentgen_operator.state.purchases import Unsettled

_TIMEOUT_SECONDS = 30.0
_ROUND_SECONDS = 120.0  # all pages of one batch
_PAGES = 10
_EARLIER = timedelta(days=1)  # before the first purchase: fal does not document what `start` filters by
_MOST_USD = 100_000.0  # of one request
_NANO = 1_000_000_000
_ERRORS = (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, RecursionError)
Row = dict[str, Any]


class Billing(Protocol):
    """Source of charges."""

    def key(self) -> str | None:
        """Current key; None: there is none."""
        ...

    async def charges(self, asked: Sequence[Unsettled]) -> Mapping[str, int]:
        """Charges in micro-dollars by request id; requests without a charge are left out. Raises Unavailable,
        AccessRefused.
        """
        ...


class FalBilling:
    """Charges from fal's billing events, with the first existing key of `keys`; `tls` has the CAs."""

    def __init__(
        self,
        keys: Sequence[KeyFile],
        api_url: str,
        *,
        tls: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._keys = keys
        self._url = f"{api_url.rstrip('/')}/v1/models/billing-events"
        client = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, verify=tls or trusted_cas(), transport=transport)
        self._client = limit_replies_async(client)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def key(self) -> str | None:
        """The first existing key; None: there is none."""
        return next((key for each_key in self._keys if (key := each_key.read()) is not None), None)

    async def charges(self, asked: Sequence[Unsettled]) -> Mapping[str, int]:
        """Charges in micro-dollars by request id; at most 50 requests. Raises Unavailable, AccessRefused."""
        try:
            async with asyncio.timeout(_ROUND_SECONDS):
                rows = await self._rows(asked)
        except _ERRORS as error:
            code = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
            raise read_error("fal", f"fal's billing events could not be read: {short_text(error)}", code) from error
        return charges_by_request(rows, {purchase.request_id for purchase in asked})

    async def _rows(self, asked: Sequence[Unsettled]) -> list[Any]:
        params: dict[str, Any] = {
            "request_id": [purchase.request_id for purchase in asked],
            "start": _time(min(purchase.created_at for purchase in asked) - _EARLIER),
        }
        rows, read = list[Any](), set[str]()
        for _ in range(_PAGES):
            page = await self._page(params)
            rows += page["billing_events"]
            cursor = page.get("next_cursor")
            if cursor is None and not page.get("has_more"):
                return rows
            if not is_cursor(cursor) or cursor in read:
                break
            read.add(cursor)
            params["cursor"] = cursor
        raise Unavailable("fal's billing events could be read only in part")

    async def _page(self, params: Mapping[str, Any]) -> Row:
        headers = {"Authorization": f"Key {self.key() or ''}"}
        reply = await self._client.get(self._url, params=params, headers=headers, extensions=reply_limit(HISTORY_BYTES))
        reply.raise_for_status()
        page = json.loads(reply.content)
        if not isinstance(page, dict) or not isinstance(page.get("billing_events"), list):
            raise ValueError("the answer has no list of events")
        return page


def charges_by_request(rows: Iterable[Any], request_ids: AnyOf[str]) -> dict[str, int]:
    """Charges in micro-dollars, rounded up, by request id: the sum of a request's rows.

    A request with a malformed row is left out, because part of a sum would be a wrong charge. Rows of other requests,
    and rows without a request, are ignored. The endpoint of a row may be another than the one that was called: fal
    bills some requests under another endpoint (`x-fal-bill-as`), and a request id is unique.
    """
    sums, unreadable_ids = dict[str, float](), set[str]()
    for row in rows:
        request_id = row.get("request_id") if isinstance(row, dict) else None
        if not isinstance(request_id, str) or request_id not in request_ids:
            continue
        usd = _usd(row)
        if usd is None:
            unreadable_ids.add(request_id)
        else:
            sums[request_id] = sums.get(request_id, 0.0) + usd
    whole = {total: usd for total, usd in sums.items() if total not in unreadable_ids and usd <= _MOST_USD}
    return {request_id: amount(USD, usd) for request_id, usd in whole.items()}


def _usd(row: Row) -> float | None:
    """Charge after discount in dollars; None: the row has no valid number."""
    given, scale = row.get("cost_total"), 1
    if given is None:
        given, scale = row.get("cost_estimate_nano_usd"), _NANO
    if not isinstance(given, int | float) or isinstance(given, bool):
        return None
    return given / scale if 0 <= given <= _MOST_USD * scale else None  # NaN is not


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
