"""Read-only access to providers' accounts for the audit: lists of requests, bills and prices.

The clients send GET requests to the paths in `_READABLE` only; anything else raises NotReadable before it is sent. The
first existing key of each list that the provider accepts is used.
"""

import json
import math
import re
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx

from contentgen_contract import patterns
from contentgen_contract.records.audits import AuditSubject, Coverage
from contentgen_contract.resources.models import TRANSCRIBER
from contentgen_contract.resources.prices import USD, Price
from contentgen_operator.clock import parse_time
from contentgen_operator.providers.base import (
    AccessRefused,
    Unavailable,
    checked_request_id,
    is_cursor,
    read_error,
    required_key,
    short_text,
)
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.limits import HISTORY_BYTES, limit_replies_async, reply_limit
from contentgen_operator.providers.network import trusted_cas
from contentgen_operator.providers.pricing import parse_price
from contentgen_operator.state.provider_requests import ProviderBill, ProviderRequest, is_request_id

_TIMEOUT_SECONDS = 30.0
_ENDPOINTS = 50  # per request, fal's maximum
_PAGES = 100
_BILLS_A_PAGE = 1000
_EARLIER = timedelta(days=1)  # fal does not document what `start` filters by
_MOST_USD = 100_000.0  # of one bill
_LONGEST_MODEL = 200
_ERRORS = (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError, KeyError, TypeError, AttributeError)
_READABLE = re.compile(
    r"/v1/models/(requests/by-endpoint|billing-events|pricing)|/v2/transcript(/[A-Za-z0-9][A-Za-z0-9._-]{0,127})?"
)
Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class AccountData:
    """Data of one account at a provider; `coverage` has each of its reader's subjects."""

    requests: Sequence[ProviderRequest] = ()
    bills: Sequence[ProviderBill] = ()
    prices: Mapping[str, Price] = field(default_factory=dict)
    coverage: Sequence[Coverage] = ()


class AccountReader(Protocol):
    """Reader of one account at a provider."""

    @property
    def subjects(self) -> tuple[AuditSubject, ...]:
        """Subjects that it reads."""
        ...

    @property
    def lists_open(self) -> bool:
        """True if the list of requests has those under way."""
        ...

    async def read(self, models: Iterable[str], since: datetime, now: datetime) -> AccountData:
        """Data since a moment, with the history and prices of these models of the provider. Raises nothing."""
        ...

    async def request(self, model: str, request_id: str) -> ProviderRequest | None:
        """One request; None if the provider does not know it. Raises Unavailable."""
        ...


class NotReadable(Exception):
    """The audit tried to send something other than one of its reads."""


class _ReadOnlyClient:
    """HTTP client of one provider that can only read."""

    def __init__(
        self, name: str, url: str, tls: ssl.SSLContext | None, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self._name = name
        self._url = url.rstrip("/")
        self._prefix = urlsplit(self._url).path
        client = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, verify=tls or trusted_cas(), transport=transport)
        self._client = limit_replies_async(client)
        self._client.event_hooks["request"].append(self._check)

    async def _check(self, request: httpx.Request) -> None:
        path = request.url.path.removeprefix(self._prefix)
        if request.method != "GET" or _READABLE.fullmatch(path) is None:
            raise NotReadable(f"{request.method} {path}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, path: str, params: Mapping[str, Any], keys: Sequence[KeyFile], scheme: str = "") -> Any:
        """JSON of one reply; None for an unknown path or id. Raises Unavailable, AccessRefused."""
        refused: Exception | None = None
        for key in _existing(keys):
            headers = {"Authorization": scheme + required_key(key, self._name, AccessRefused)}
            try:
                return await self._get(path, params, headers)
            except AccessRefused as error:
                refused = error
        raise refused or AccessRefused(self._name, f"there is no key for {self._name}")

    async def _get(self, path: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
        try:
            reply = await self._client.get(
                self._url + path, params=dict(params), headers=headers, extensions=reply_limit(HISTORY_BYTES)
            )
            if reply.status_code == httpx.codes.NOT_FOUND:
                return None
            reply.raise_for_status()
            return json.loads(reply.content)
        except _ERRORS as error:
            code = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
            raise read_error(self._name, f"{self._name} could not be read: {short_text(error)}", code) from error


def _existing(keys: Sequence[KeyFile]) -> list[KeyFile]:
    """Files with different keys."""
    return list({key: each_key for each_key in reversed(keys) if (key := each_key.read()) is not None}.values())[::-1]


class FalAccount:
    """Reader of fal's platform API. `keys` are for requests and prices, `billing_keys` for bills."""

    subjects = (AuditSubject.REQUESTS, AuditSubject.BILLS, AuditSubject.PRICES)
    lists_open = False

    def __init__(
        self,
        keys: Sequence[KeyFile],
        billing_keys: Sequence[KeyFile],
        api_url: str,
        *,
        tls: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._keys, self._billing_keys = keys, billing_keys
        self._http = _ReadOnlyClient("fal", api_url, tls, transport)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def read(self, models: Iterable[str], since: datetime, now: datetime) -> AccountData:
        """See AccountReader."""
        names = list(models)
        requests, listing = await self.requests(names, since)
        bills, billing = await self.bills(since)
        prices, pricing = await self.prices(names, now)
        return AccountData(requests, bills, prices, (listing, billing, pricing))

    async def requests(self, models: Iterable[str], since: datetime) -> tuple[list[ProviderRequest], Coverage]:
        """Ended requests of these models. fal lists none without the name of its model."""
        found, names, odd = list[ProviderRequest](), sorted(set(models)), list[Exception]()
        try:
            for start in range(0, len(names), _ENDPOINTS):
                asked = {"endpoint_id": names[start : start + _ENDPOINTS], "start": _time(since - _EARLIER)}
                async for page in self._pages("requests/by-endpoint", asked | {"limit": 100}, self._keys):
                    found += _parsed(_request, page["items"], odd)
        except (Unavailable, *_ERRORS) as error:
            odd.append(error)
        return found, _coverage("fal", AuditSubject.REQUESTS, len(found), *odd)

    async def request(self, model: str, request_id: str) -> ProviderRequest | None:
        """One request with its input; None if fal does not list it. Raises Unavailable."""
        asked = {"endpoint_id": model, "request_id": request_id, "expand": "payloads", "limit": 1}
        page = await self._http.get("/v1/models/requests/by-endpoint", asked, self._keys, "Key ")
        try:
            items = [
                each_request
                for each_request in ([] if page is None else page["items"])
                if isinstance(each_request, dict)
            ]
            return next(
                (_request(each_request) for each_request in items if each_request.get("request_id") == request_id), None
            )
        except _ERRORS as error:
            raise Unavailable("fal's history is malformed") from error

    async def bills(self, since: datetime) -> tuple[list[ProviderBill], Coverage]:
        """Bills of all models of the account. Rows without a request are left out."""
        found, odd = list[ProviderBill](), list[Exception]()
        asked = {"start": _time(since - _EARLIER), "limit": _BILLS_A_PAGE}
        try:
            async for page in self._pages("billing-events", asked, self._billing_keys):
                found += [bill for bill in _parsed(_bill, page["billing_events"], odd) if bill is not None]
        except (Unavailable, *_ERRORS) as error:
            odd.append(error)
        return found, _coverage("fal", AuditSubject.BILLS, len(found), *odd)

    async def prices(self, models: Iterable[str], now: datetime) -> tuple[dict[str, Price], Coverage]:
        """Current unit prices, of the models that fal lists."""
        found, names = dict[str, Price](), sorted(set(models))
        try:
            for start in range(0, len(names), _ENDPOINTS):
                found |= await self._prices(names[start : start + _ENDPOINTS], now)
        except (Unavailable, *_ERRORS) as error:
            return found, _coverage("fal", AuditSubject.PRICES, len(found), error)
        return found, _coverage("fal", AuditSubject.PRICES, len(found))

    async def _prices(self, names: Sequence[str], now: datetime) -> dict[str, Price]:
        """Prices of these models. fal answers 404 to all of them if it lists one not: then each is asked for alone."""
        page = await self._http.get("/v1/models/pricing", {"endpoint_id": names}, self._keys, "Key ")
        if page is not None:
            prices = {name: parse_price(page, name, now) for name in names}
            return {name: price for name, price in prices.items() if price is not None}
        found = dict[str, Price]()
        for name in names if len(names) > 1 else ():
            found |= await self._prices([name], now)
        return found

    async def _pages(self, name: str, asked: Row, keys: Sequence[KeyFile]) -> Any:
        read = set[str]()
        for _ in range(_PAGES):
            page = await self._http.get(f"/v1/models/{name}", asked, keys, "Key ")
            if page is None:  # no model of this name
                return
            yield page
            cursor = page.get("next_cursor")
            if cursor is None and not page.get("has_more"):
                return
            if not is_cursor(cursor) or cursor in read:
                break
            read.add(cursor)
            asked = asked | {"cursor": cursor}
        raise Unavailable("the list could be read only in part")


class AssemblyAIAccount:
    """Reader of AssemblyAI's list of transcripts. It has no API for bills or prices with a key."""

    subjects = (AuditSubject.REQUESTS,)
    lists_open = True

    def __init__(
        self,
        keys: Sequence[KeyFile],
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._keys = keys
        self._http = _ReadOnlyClient("assemblyai", url, tls, transport)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def read(self, models: Iterable[str], since: datetime, now: datetime) -> AccountData:  # noqa: ARG002 - the protocol's signature
        """See AccountReader."""
        requests, listing = await self.requests(since)
        return AccountData(requests, coverage=(listing,))

    async def requests(self, since: datetime) -> tuple[list[ProviderRequest], Coverage]:
        """Transcripts, newest first, in any state; the input has the audio's URL only."""
        found, before, read, odd = list[ProviderRequest](), "", set[str](), list[Exception]()
        try:
            for _ in range(_PAGES):
                asked = {"limit": "200"} | ({"before_id": before} if before else {})
                page = await self._http.get("/v2/transcript", asked, self._keys)
                items = _parsed(_transcript, page["transcripts"], odd)
                found += [request for request in items if request.sent_at is None or request.sent_at >= since]
                older = parse_qs(urlsplit(page["page_details"]["prev_url"] or "").query).get("before_id", [""])[0]
                if (
                    not older
                    or not items
                    or any(request.sent_at is not None and request.sent_at < since for request in items)
                ):
                    return found, _coverage("assemblyai", AuditSubject.REQUESTS, len(found), *odd)
                if older in read:
                    break
                read.add(older)
                before = older
        except (Unavailable, *_ERRORS) as error:
            return found, _coverage("assemblyai", AuditSubject.REQUESTS, len(found), error)
        return found, _coverage("assemblyai", AuditSubject.REQUESTS, len(found), Unavailable("the list is too long"))

    async def request(self, model: str, request_id: str) -> ProviderRequest | None:
        """One transcript; None if AssemblyAI does not know it. Raises Unavailable."""
        try:
            found = await self._http.get(f"/v2/transcript/{checked_request_id(request_id)}", {}, self._keys)
        except Unavailable as error:
            if isinstance(error.__cause__, httpx.HTTPStatusError) and error.__cause__.response.status_code == 400:
                return None  # "Transcript lookup error, transcript id not found"
            raise
        return None if found is None else ProviderRequest(provider="assemblyai", model=model, request_id=request_id)


def _parsed(parse: Callable[[Row], T], items: Sequence[Row], odd: list[Exception]) -> list[T]:
    """The items that can be read; the errors of the others are added to `odd`, and the list is incomplete."""
    found = list[T]()
    for item in items:
        try:
            found.append(parse(item))
        except _ERRORS as error:
            odd.append(error)
    return found


def _request(item: Row) -> ProviderRequest:
    """Raises ValueError for an item without a valid id: the list is then incomplete."""
    payload = item.get("json_input")
    return ProviderRequest(
        provider="fal",
        model=_model(item["endpoint_id"]),
        request_id=_request_id(item["request_id"]),
        sent_at=parse_time(item.get("sent_at")),
        input=payload if isinstance(payload, dict) else None,
    )


def _transcript(item: Row) -> ProviderRequest:
    sound = item.get("audio_url")
    return ProviderRequest(
        provider="assemblyai",
        model=TRANSCRIBER,
        request_id=_request_id(item["id"]),
        sent_at=parse_time(item.get("created")),
        input={"audio_url": sound} if isinstance(sound, str) else {},
    )


def _bill(row: Row) -> ProviderBill | None:
    """A bill; None: of no request. Raises an error of `_ERRORS`."""
    if row.get("request_id") is None:
        return None
    total = _usd(row.get("cost_total"))
    if total is None and (nano := _number(row.get("cost_estimate_nano_usd"))) is not None:
        total = nano / 1e9
    if total is None:
        raise ValueError("a bill has no amount")
    before, unit = _usd(row.get("cost_subtotal")), _usd(row.get("unit_price"))
    return ProviderBill(
        provider="fal",
        model=_model(row["endpoint_id"]),
        request_id=_request_id(row["request_id"]),
        at=parse_time(row.get("timestamp")),
        micros=round(total * USD, 6),
        list_micros=round(before * USD, 6) if before is not None else None,
        units=_number(row.get("output_units")),
        unit_micros=round(unit * USD, 6) if unit is not None else None,
    )


def _request_id(given: object) -> str:
    if not is_request_id(given):
        raise ValueError("an item has no valid request id")
    return given


def _model(given: object) -> str:
    """The name of a model; empty if it is not one, since it is shown to people."""
    named = isinstance(given, str) and len(given) <= _LONGEST_MODEL and re.fullmatch(patterns.MODEL_NAME, given)
    return str(given) if named else ""


def _number(given: object) -> float | None:
    if not isinstance(given, int | float) or isinstance(given, bool):
        return None
    return float(given) if 0 <= given <= _MOST_USD * 1e9 and math.isfinite(given) else None


def _usd(given: object) -> float | None:
    number = _number(given)
    return number if number is not None and number <= _MOST_USD else None


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _coverage(provider: str, subject: AuditSubject, count: int, *odd: Exception) -> Coverage:
    """Coverage by what could not be read; the first error is shown."""
    problem = short_text(odd[0]) if odd else ""
    return Coverage(provider=provider, subject=subject, complete=not odd, count=count, problem=problem)
