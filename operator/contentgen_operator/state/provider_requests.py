"""Provider requests as values: the call, searches for a lost request, and the answers to searches and polls. Pure."""

import json
import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import IO, Any, Protocol, TypeGuard, runtime_checkable
from urllib.parse import unquote

from pydantic import ConfigDict

from contentgen_contract import patterns
from contentgen_contract.base import Value

_STORED_OBJECT = "storedObject"
_MAX_UNITS = 1e9  # of one request
_REQUEST_ID = re.compile(patterns.REQUEST_ID)
_SECRET_PARTS = re.compile(r"[?#]|://[^/]*@")  # of a URL: query, fragment, user and password


ANSWER_BYTES = 64 << 20
"""Limit of a result; a transcript of 12 hours has about 30 MB."""


class StoredObject(Value):
    """Placeholder in a call's arguments for a presigned URL of this key, which is signed just before the POST."""

    key: str


def arguments_json(arguments: dict[str, Any]) -> str:
    """A call's arguments as JSON for the ledger; of a URL with more than scheme, host and path, which may be a secret,
    only the path.
    """
    return json.dumps(_storable(arguments), sort_keys=True)


def _storable(value: Any, name: str = "") -> Any:
    match value:
        case StoredObject(key=key):
            return {_STORED_OBJECT: key}
        case dict():
            return {name: _storable(member, name) for name, member in value.items()}
        case list() | tuple():
            return [_storable(element) for element in value]
        case str() if name == "path" and _SECRET_PARTS.search(value):
            return {_STORED_OBJECT: unquote(_path_of(value)[1:])}
        case _:
            return value


def arguments_of(text: str) -> dict[str, Any]:
    """Arguments from the JSON of `arguments_json`, for `same_input`. Raises ValueError."""
    found = _searchable(json.loads(text))
    if not isinstance(found, dict):
        raise ValueError("the JSON is not an object of call arguments")
    return found


def _searchable(value: Any) -> Any:
    match value:
        case {"storedObject": str(key), **rest} if not rest:
            return StoredObject(key=key)
        case dict():
            return {name: _searchable(member) for name, member in value.items()}
        case list():
            return [_searchable(element) for element in value]
        case _:
            return value


class Call(Value):
    """Paid call; `arguments` may hold `StoredObject`s at any depth."""

    provider: str
    model: str
    arguments: dict[str, Any]
    correlation_key: str  # part of the input that identifies a lost request in the provider's history
    purchase_id: str = ""  # sent as a tag if the provider supports tags


class Search(Value):
    """Search for a request whose reply was lost; `call.arguments` has a `StoredObject` for each signed URL."""

    call: Call
    sent_after: datetime
    sent_before: datetime
    taken: frozenset[str] = frozenset()  # request ids of other purchases


class Found(Value):
    """Result of one search. `complete` False: some history or some input could not be read.

    Even a complete history proves nothing, because it may lag.
    """

    request_id: str | None
    complete: bool


class Verified(Value):
    """Verdict on a request that a person names."""

    same: bool | None  # whether it is the one searched for; None: unknown now
    text: str = ""  # reason for False or None


class RequestState(StrEnum):
    """State of a request at the provider."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GONE = "gone"  # finished: the provider has no result of it
    UNKNOWN = "unknown"  # the provider does not know it, now or with this key


@runtime_checkable
class Answer(Protocol):
    """Provider's result. Decisions pass it on unread; `providers.answers` keeps it in a temporary file."""

    size: int

    def cut_signatures(self, needed: frozenset[str]) -> None:
        """Remove the query of presigned URLs, except of fields named in `needed`."""
        ...

    def file(self) -> IO[bytes]:
        """Open file at its start; only one reader at a time."""
        ...

    def close(self) -> None:
        """Delete the file; idempotent."""
        ...


class RequestView(Value):
    """Answer to a poll. A request that has succeeded has its `result`, is stored already, or is too large."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    state: RequestState
    message: str = ""
    result: Answer | None = None
    too_large: bool = False
    stored: bool = False  # an earlier poll's result is in the bucket
    billable_units: float | None = None  # units that the provider bills, of audio in seconds; None: unknown
    model_used: str = ""  # model that the provider used; empty: unknown
    cancelled: bool = False  # FAILED because its cancellation was asked for
    repeatable: bool = True  # False: FAILED because its input was refused, which would be refused again
    key_id: str | None = None  # fingerprint of the key that asked; None: it was replaced meanwhile
    same_key: bool = True  # False: UNKNOWN to a key that is not known to know the request
    conclusive: bool = False  # UNKNOWN to the same key, which knows another request of ours


TOO_LARGE = RequestView(
    state=RequestState.SUCCEEDED, message=f"its result has more than {ANSWER_BYTES >> 20} MiB", too_large=True
)


STORED = RequestView(state=RequestState.SUCCEEDED, message="its result is stored", stored=True)


GONE = RequestView(state=RequestState.GONE, message="its result is no longer kept there")


UNKNOWN = RequestView(state=RequestState.UNKNOWN, message="it does not know the request")


class ProviderRequest(Value):
    """Request in a provider's history. `input` is None if it was not read."""

    provider: str
    model: str
    request_id: str
    sent_at: datetime | None = None
    input: dict[str, Any] | None = None
    account: str | None = None  # account that lists it, or that the purchase names; None: the default one

    @property
    def identity(self) -> str:
        """Name of the request among those of all providers."""
        return f"{self.provider}/{self.request_id}"


class ProviderBill(Value):
    """One row of a provider's bills. Amounts are micro-dollars."""

    provider: str
    model: str
    request_id: str
    at: datetime | None = None
    micros: float  # after discount
    list_micros: float | None = None  # before discount
    units: float | None = None
    unit_micros: float | None = None
    account: str | None = None  # that was billed; None: the default one


def is_request_id(given: object) -> TypeGuard[str]:
    """True if a provider's id is safe as one segment of a URL path: HTTP clients resolve `..`, `?` and `#`."""
    return isinstance(given, str) and _REQUEST_ID.fullmatch(given) is not None


def names_key(url: str, key: str) -> bool:
    """True if a URL is of this object, however it is signed: its path ends with the key."""
    return unquote(_path_of(url)).endswith(f"/{key}")


def _path_of(url: str) -> str:
    return f"/{re.split('[?#]', url, maxsplit=1)[0].split('://', 1)[-1].partition('/')[2]}"


def same_input(expected: Any, listed: Any) -> bool:
    """True if a history lists these arguments: equal as JSON, with a URL of its key for each StoredObject."""
    match expected:
        case StoredObject(key=key):
            return isinstance(listed, str) and names_key(listed, key)
        case dict():
            return (
                isinstance(listed, dict)
                and expected.keys() == listed.keys()
                and all(same_input(member, listed[name]) for name, member in expected.items())
            )
        case list() | tuple():
            return (
                isinstance(listed, list)
                and len(expected) == len(listed)
                and all(same_input(*pair) for pair in zip(expected, listed, strict=True))
            )
        case int() | float() if not isinstance(expected, bool):  # JSON has one type of number
            return isinstance(listed, int | float) and not isinstance(listed, bool) and expected == listed
        case str():
            return isinstance(listed, str) and expected == listed
        case _:
            return type(expected) is type(listed) and bool(expected == listed)


def verdict_by_time(search: Search, sent_at: datetime, margin: timedelta, *, same: bool) -> Verified:
    """Verdict on a request whose input and time are known; `margin` is the clocks' difference at most."""
    if not search.sent_after - margin <= sent_at <= search.sent_before:
        return Verified(
            same=False,
            text=f"it was sent at {sent_at:%Y-%m-%d %H:%M:%S %Z}, but this purchase's request was sent at another time",
        )
    return Verified(same=same, text="" if same else "its input differs")


def seed_correlation_key(arguments: dict[str, Any]) -> str:
    """Correlation key of a call without an input file: its seed and prompt."""
    return f"seed:{arguments.get('seed')} prompt:{arguments.get('prompt')}"


def billable_units(given: object) -> float | None:
    """Billed units from a provider's answer; None if it is not a number from 0 to 1e9."""
    try:
        units = float(given) if isinstance(given, str | int | float) and not isinstance(given, bool) else -1.0
    except (ValueError, OverflowError):
        return None
    return units if 0 <= units <= _MAX_UNITS else None  # NaN is not
