"""A provider's requests as values: what is sent, what a search found, what the provider says of a request. Pure."""

import json
import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeGuard
from urllib.parse import unquote

from pydantic import ConfigDict

from contentgen_contract import patterns
from contentgen_contract.base import Value
from contentgen_operator.state.provider_answers import ANSWER_BYTES, Answer

_STORED_OBJECT = "storedObject"
_MAX_UNITS = 1e9  # of one request
_REQUEST_ID = re.compile(patterns.REQUEST_ID)


class StoredObject(Value):
    """Stands in a call's arguments for a presigned URL of this key; signed at the last moment, never stored."""

    key: str


def arguments_json(arguments: dict[str, Any]) -> str:
    """A call's arguments as JSON that may be stored: of a URL with a query, which may be a secret, only the path."""
    return json.dumps(_storable(arguments), sort_keys=True)


def _storable(value: Any, name: str = "") -> Any:
    match value:
        case StoredObject(key=key):
            return {_STORED_OBJECT: key}
        case dict():
            return {name: _storable(each, name) for name, each in value.items()}
        case list() | tuple():
            return [_storable(each) for each in value]
        case str() if name == "path" and "?" in value:
            return {_STORED_OBJECT: unquote(value.split("?", 1)[0].split("://", 1)[-1].partition("/")[2])}
        case _:
            return value


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments from `arguments_json`, for `same_input`. Raises ValueError."""
    found = _searchable(json.loads(text))
    if not isinstance(found, dict):
        raise ValueError("no arguments of a call")
    return found


def _searchable(value: Any) -> Any:
    match value:
        case {"storedObject": str(key), **rest} if not rest:
            return StoredObject(key=key)
        case dict():
            return {name: _searchable(each) for name, each in value.items()}
        case list():
            return [_searchable(each) for each in value]
        case _:
            return value


class Call(Value):
    """A paid call, as decided; `arguments` may hold `StoredObject`s at any depth."""

    provider: str
    model: str
    arguments: dict[str, Any]
    correlation_key: str  # what the provider's history will show again, so that a lost request can be found
    purchase_id: str = ""  # sent as a tag, where the provider keeps tags


class Search(Value):
    """One search for a request whose reply was lost.

    `call.arguments` has a `StoredObject` in place of each signed URL.
    """

    call: Call
    sent_after: datetime
    sent_before: datetime
    claimed: frozenset[str] = frozenset()  # ids of requests that other purchases have


class Found(Value):
    """The result of one search. Not `complete`: there was more history than was read, or a request sent in that time
    whose input is not shown; but even a complete history proves nothing, because it may lag.
    """

    request_id: str | None
    complete: bool


class Verified(Value):
    """Whether a request that a person names is the one searched for; None: that cannot be told now."""

    same: bool | None
    text: str = ""  # why it is not, or cannot be told


class RequestState(StrEnum):
    """What the provider says about a request."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GONE = "gone"  # finished and paid, or unknown by now: the provider has no result of it


class RequestView(Value):
    """One look at a request. One that has succeeded has its `result`, or is too large to be stored."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    state: RequestState
    message: str = ""
    result: Answer | None = None
    too_large: bool = False
    stored: bool = False  # SUCCEEDED by an earlier look, whose result is in our bucket
    billable_units: float | None = None  # that the provider bills, seconds of sound where they are; None: not told
    model_used: str = ""  # of the provider's models the one that did it; empty: not told
    cancelled: bool = False  # FAILED because somebody asked for its end


TOO_LARGE = RequestView(
    state=RequestState.SUCCEEDED, message=f"its result has more than {ANSWER_BYTES >> 20} MiB", too_large=True
)


STORED = RequestView(state=RequestState.SUCCEEDED, message="its result is stored", stored=True)


GONE = RequestView(state=RequestState.GONE, message="its result is no longer kept there")


def is_request_id(given: object) -> TypeGuard[str]:
    """Whether a provider's id can stand in a URL's path as one segment: HTTP clients resolve `..`, `?` and `#`."""
    return isinstance(given, str) and _REQUEST_ID.fullmatch(given) is not None


def names_key(url: str, key: str) -> bool:
    """Whether a URL is of this object, however it is signed: its path is the key, or a bucket's name and the key."""
    path = f"/{url.split('?', 1)[0].split('://', 1)[-1].partition('/')[2]}"
    return unquote(path).endswith(f"/{key}")


def same_input(asked: Any, shown: Any) -> bool:
    """Whether a history shows these arguments: equal as JSON, and a URL with the key's path for each StoredObject."""
    match asked:
        case StoredObject(key=key):
            return isinstance(shown, str) and names_key(shown, key)
        case dict():
            return (
                isinstance(shown, dict)
                and asked.keys() == shown.keys()
                and all(same_input(each, shown[name]) for name, each in asked.items())
            )
        case list() | tuple():
            return (
                isinstance(shown, list)
                and len(asked) == len(shown)
                and all(same_input(*pair) for pair in zip(asked, shown, strict=True))
            )
        case int() | float() if not isinstance(asked, bool):  # JSON has one type of number
            return isinstance(shown, int | float) and not isinstance(shown, bool) and asked == shown
        case str():
            return isinstance(shown, str) and asked == shown
        case _:
            return type(asked) is type(shown) and bool(asked == shown)


def verdict_by_time(search: Search, sent_at: datetime, margin: timedelta, *, same: bool) -> Verified:
    """The verdict on a request whose input and time are known."""
    if not search.sent_after - margin <= sent_at <= search.sent_before:
        return Verified(same=False, text=f"it was sent at {sent_at:%Y-%m-%d %H:%M:%S %Z}, and not when this one was")
    return Verified(same=same, text="" if same else "its input is another one")


def seed_correlation_key(arguments: dict[str, Any]) -> str:
    """The marker of a call without an input file: its seed and prompt."""
    return f"seed:{arguments.get('seed')} prompt:{arguments.get('prompt')}"


def billable_units(given: object) -> float | None:
    """Units that a provider says it bills; None where that is no number of units."""
    try:
        units = float(given) if isinstance(given, str | int | float) and not isinstance(given, bool) else -1.0
    except ValueError:
        return None
    return units if 0 <= units <= _MAX_UNITS else None  # NaN is not
