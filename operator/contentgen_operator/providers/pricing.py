"""Unit prices from fal's platform API, `GET /v1/models/pricing`, cached for an hour.

Without an answer the built-in table has the price, except for a run with an approval, which waits for the answer.
"""

import asyncio
import logging
import math
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

import httpx

from contentgen_contract.catalogue.entries import ENTRIES
from contentgen_contract.resources.prices import PRICES, USD, Price, PriceLookup, Unit
from contentgen_operator.providers.base import short_text
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.limits import limit_replies_async
from contentgen_operator.providers.network import trusted_cas
from contentgen_runtime.caches import BoundedDict
from contentgen_runtime.clock import Clock, utc_now

_log = logging.getLogger(__name__)
_FRESH_SECONDS = 3600.0
_RETRY_SECONDS = 60.0  # after a failed look-up
_LOOKUP_SECONDS = 3.0
_MOST_MODELS = 256
_MOST_USD = 1e6  # a unit
_UNITS = {"megapixel": Unit.MEGAPIXEL, "image": Unit.IMAGE, "step": Unit.STEP}


class PriceSource(Protocol):
    """Source of unit prices of fal's models."""

    async def price(self, model: str, account: str | None = None) -> PriceLookup:
        """Unit price of a full model name for a provider account (None: the default one). Raises nothing."""
        ...


class NoPrices:
    """Price source without prices."""

    async def price(self, model: str, account: str | None = None) -> PriceLookup:  # noqa: ARG002 - the protocol's signature
        """No price."""
        return PriceLookup()


class FalPrices:
    """Unit prices from fal's pricing endpoint; `tls` has the CAs. A failed request is repeated after a minute; until
    then the last known price is returned beside the problem.
    """

    def __init__(
        self,
        key: KeyFile,
        api_url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Clock = utc_now,
        timeout: float = _LOOKUP_SECONDS,
        tls: ssl.SSLContext | None = None,
        accounts: Mapping[str, KeyFile] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`key` is the default account's; `accounts` has those of the others."""
        self._keys: dict[str | None, KeyFile] = {None: key}
        self._keys.update(accounts or {})
        self._url = f"{api_url.rstrip('/')}/v1/models/pricing"
        self._clock = clock
        self._wall = wall
        self._timeout = timeout
        client = httpx.AsyncClient(timeout=timeout, verify=tls or trusted_cas(), transport=transport)
        self._client = limit_replies_async(client)
        # By account, as a contract may have prices of its own: valid until, answer.
        self._known: BoundedDict[tuple[str | None, str], tuple[float, PriceLookup]] = BoundedDict(
            _MOST_MODELS * len(self._keys)
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def price(self, model: str, account: str | None = None) -> PriceLookup:
        """Unit price of a full model name for an account, cached."""
        asked = account, model
        until, known = self._known.get(asked, (-math.inf, PriceLookup()))
        if self._clock() < until:
            return known
        found = await self._looked_up(model, account)
        if found.problem and known.price is not None:
            found = PriceLookup(price=known.price, problem=found.problem)
            until = self._clock() + _RETRY_SECONDS
        else:
            until = self._clock() + (_RETRY_SECONDS if found.problem else _FRESH_SECONDS)
        self._known[asked] = (until, found)
        return found

    async def _looked_up(self, model: str, account: str | None) -> PriceLookup:
        file = self._keys.get(account)
        key = file.read() if file is not None else None
        if key is None:
            return PriceLookup(problem="there is no key for fal")
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._client.get(
                    self._url, params={"endpoint_id": model}, headers={"Authorization": f"Key {key}"}
                )
            if reply.status_code == httpx.codes.NOT_FOUND:
                return PriceLookup()
            reply.raise_for_status()
            return PriceLookup(price=parse_price(reply.json(), model, self._wall()))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, RecursionError) as error:
            problem = f"fal's prices could not be read: {short_text(error)}"
            _log.info("%s", problem, extra={"model": model})
            return PriceLookup(problem=problem)


def parse_price(document: Any, model: str, now: datetime) -> Price | None:
    """Price of a model in an answer; None: not listed. Raises ValueError for a malformed answer."""
    listed = document.get("prices") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("the answer has no list of prices")
    for price in listed:
        if isinstance(price, dict) and price.get("endpoint_id") == model:
            return _price(price, model, now)
    return None


def _price(item: dict[str, Any], model: str, now: datetime) -> Price | None:
    usd, unit = item.get("unit_price"), item.get("unit")
    if not isinstance(usd, int | float) or isinstance(usd, bool) or not 0 < usd <= _MOST_USD:
        return None
    if item.get("currency") != "USD" or not isinstance(unit, str):
        return None
    built_in, entry = PRICES.get(model), ENTRIES.get(model)
    ours = _UNITS.get(unit.strip().lower().removesuffix("s"), Unit.OTHER)
    if entry is not None and entry.price.listed_unit == unit.strip().lower():
        ours = Unit(entry.price.unit)
    return Price(
        micros=round(usd * USD, 6),
        unit=ours,
        source=f"fal's pricing endpoint on {now:%Y-%m-%d}",
        url=f"https://fal.ai/models/{model}",
        read_on=f"{now:%Y-%m-%d}",
        minimum=built_in.minimum if built_in is not None and built_in.unit is ours else 0,
        billing=True,
    )
