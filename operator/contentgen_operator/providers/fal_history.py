"""History of finished requests at fal: search for a lost request, and results that fal's queue no longer has.

The list is of one model, sorted by end, newest first, and shared by all users of the account. fal does not document
the time by which `start` and `end` filter, so the time of the POST is compared here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from contentgen_operator.clock import parse_time, utc_now
from contentgen_operator.providers.answers import read_json
from contentgen_operator.providers.base import is_cursor, read_error, short_text
from contentgen_operator.providers.limits import HISTORY_BYTES, ReplyTooLarge, reply_limit
from contentgen_operator.state.provider_requests import (
    Found,
    Search,
    Verified,
    is_request_id,
    same_input,
    verdict_by_time,
)

MARGIN = timedelta(minutes=2)  # of fal's clock from ours
_FIRST_SPAN = timedelta(hours=1)  # after the last possible time of the POST: most requests end within it
_MAX_PAGES = 60  # pages of 100 entries, in each of the two spans of a search
_MAX_READS = 60  # reads of single requests, per span
_MAX_BYTES = 64 << 20  # per span
_ERRORS = (httpx.HTTPError, httpx.InvalidURL, ValueError)
Item = dict[str, Any]


class _TooLarge(Exception):
    """A page is larger, or its JSON deeper, than the limits."""


@dataclass
class _Span:
    """Part of a search: a period, its remaining limits, and the candidates."""

    search: Search
    time: Mapping[str, str]
    pages: int = _MAX_PAGES
    reads: int = _MAX_READS
    size: int = _MAX_BYTES
    inputs: bool = True  # pages include inputs, until a page was too large
    sent_at: dict[str, datetime] = field(default_factory=dict)
    same: dict[str, bool] = field(default_factory=dict)  # candidates with a known input
    complete: bool = True

    def nearest_first(self) -> list[str]:
        return sorted(self.sent_at, key=lambda each: abs(self.sent_at[each] - self.search.sent_after))

    def add(self, items: list[Any]) -> None:
        for item in items:
            if not isinstance(item, dict):
                self.complete = False
                continue
            request_id, sent_at = item.get("request_id"), parse_time(item.get("sent_at"))
            if not is_request_id(request_id) or request_id in self.search.taken:
                self.complete = self.complete and isinstance(request_id, str)
                continue
            if sent_at is None:
                self.complete = False
            elif self.search.sent_after - MARGIN <= sent_at <= self.search.sent_before:
                self.sent_at[request_id] = sent_at
                self.compare(request_id, item)

    def compare(self, request_id: str, item: Item | None) -> None:
        if item and item.get("json_input"):
            self.same[request_id] = same_input(self.search.call.arguments, item["json_input"])


class FalHistory:
    """Reader of `url`, the platform API's list of requests by endpoint."""

    def __init__(self, client: httpx.AsyncClient, url: str, headers: Callable[[], Mapping[str, str]]) -> None:
        self._client = client
        self._url = url
        self._headers = headers

    async def find(self, search: Search) -> Found:
        """The request with this input, not `taken`, that was sent nearest to `sent_after`. Raises Unavailable."""
        complete = True
        for time in _times(search, utc_now()):
            span = _Span(search, time)
            await self._list(span)
            found = await self._first_match(span)
            complete = complete and span.complete
            if found is not None:
                return Found(request_id=found, complete=complete)
        return Found(request_id=None, complete=complete)

    async def verify(self, search: Search, request_id: str) -> Verified:
        """Verdict whether a request is of this model, input and time. Raises Unavailable."""
        item = await self.entry(search.call.model, request_id)
        if item is None:
            text = f"fal's history of {search.call.model} does not show it, or not yet: fal lists what has ended"
            return Verified(same=None, text=text)
        sent_at, listed = parse_time(item.get("sent_at")), item.get("json_input")
        if sent_at is None or not listed:
            return Verified(same=None, text="fal's history shows neither its input nor when it was sent")
        return verdict_by_time(search, sent_at, MARGIN, same=same_input(search.call.arguments, listed))

    async def entry(self, model: str, request_id: str) -> Item | None:
        """One request with its input and output; None if the history does not list it, or it is too large.
        Raises Unavailable.
        """
        asked = {"endpoint_id": model, "request_id": request_id, "expand": "payloads", "limit": 1}
        try:
            page, _ = await self._page(asked)
            listed = (item for item in page["items"] if isinstance(item, dict))
            return next((item for item in listed if item.get("request_id") == request_id), None)
        except _TooLarge:
            return None
        except _ERRORS as error:
            raise _unavailable(error) from error

    async def _list(self, span: _Span) -> None:
        cursor, read = None, set[str]()
        while span.pages > 0 and span.size > 0:
            page = await self._next(span, cursor)
            cursor = page.get("next_cursor")
            if cursor is None and not page.get("has_more"):
                return
            if not is_cursor(cursor) or cursor in read:
                break
            read.add(cursor)
        span.complete = False

    async def _next(self, span: _Span, cursor: str | None) -> Any:
        """Next page, without inputs once a page was too large: those of candidates are read later, one by one."""
        asked: dict[str, Any] = {"endpoint_id": span.search.call.model, "limit": 100, **span.time}
        asked |= {"cursor": cursor} if cursor else {}
        span.pages -= 1
        try:
            if span.inputs:
                try:
                    page, size = await self._page(asked | {"expand": "payloads"})
                except _TooLarge:
                    span.inputs = False
                    span.size -= HISTORY_BYTES
            if not span.inputs:
                page, size = await self._page(asked)
            span.size -= size
            span.add(page["items"])
        except (_TooLarge, *_ERRORS) as error:
            raise _unavailable(error) from error
        return page

    async def _first_match(self, span: _Span) -> str | None:
        for request_id in span.nearest_first():
            if request_id not in span.same and span.reads > 0:
                span.reads -= 1
                span.compare(request_id, await self.entry(span.search.call.model, request_id))
            if span.same.get(request_id):
                return request_id
            span.complete = span.complete and request_id in span.same
        return None

    async def _page(self, asked: Mapping[str, Any]) -> tuple[Item, int]:
        """Page with a list of `items`, and its size in bytes. Raises _TooLarge, ValueError, httpx's errors."""
        try:
            reply = await self._client.get(
                self._url, params=asked, headers=self._headers(), extensions=reply_limit(HISTORY_BYTES)
            )
        except ReplyTooLarge as error:
            raise _TooLarge(str(error)) from error
        reply.raise_for_status()
        try:
            page = read_json(reply.content)
        except RecursionError as error:
            raise _TooLarge("the JSON is nested too deep") from error
        if not isinstance(page, dict) or not isinstance(page.get("items"), list):
            raise ValueError("the answer has no list of items")
        return page, len(reply.content)


def _times(search: Search, now: datetime) -> Iterator[dict[str, str]]:
    """Period after the POST in two parts, so that the first is read even in the long history of a busy account."""
    start, between = search.sent_after - MARGIN, search.sent_before + _FIRST_SPAN
    if between >= now:
        yield {"start": _time(start)}
        return
    yield {"start": _time(start), "end": _time(between)}
    yield {"start": _time(between)}


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unavailable(error: Exception) -> Exception:
    code = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
    return read_error("fal", f"fal's history could not be read: {short_text(error)}", code)
