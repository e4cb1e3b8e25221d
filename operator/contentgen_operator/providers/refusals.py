"""Error replies of providers: their text in any shape, and what a refused paid request means. Nothing here raises for
the content of a reply.

Decisions use HTTP status, `type`, `code` and `loc` of the JSON, and fal's headers; only a 403 without them is told by
its words, because fal has no code for a locked account or a model without access. Neither side of that pays anything.
"""

import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from contentgen_contract.texts import foreign_text
from contentgen_operator.providers.answers import read_json
from contentgen_operator.providers.base import (
    Blocked,
    Busy,
    InputUnread,
    KeyRefused,
    MaybeAccepted,
    ProviderError,
    Refused,
)

NOT_TAKEN = (425, 429)
MAYBE_TAKEN = (408, 409, 499)
_MOST_WAIT = 86400.0  # seconds that a provider may ask to wait
_DEEPEST = 8  # level of a JSON value that is read
_MOST_ITEMS = 20  # of a list or object
_TEXTS = ("detail", "msg", "message", "error", "errors", "title", "reason", "description")
_ECHOES = ("input", "ctx", "url", "docs_url", "request_id", "loc")  # neither a text nor a code
_CODES = ("type", "code", "error_type", "error_code")
_UNREAD = "file_download_error"  # fal could not fetch a file of the input
_INPUT_CODE = re.compile(r"policy|moderat|safety|nsfw|content|model|input|prompt|value|param", re.IGNORECASE)
_CODE_BREAK = re.compile(r"_|(?<=[a-z])(?=[A-Z])")  # between the words of a code
_ACCOUNT = re.compile(
    r"\b(api[ _-]?keys?|keys?|credentials?|(un)?authori[sz]\w*|authentic\w*|accounts?|balance|billing|"
    r"payments?|credits?|locked|suspended|quota|subscription|top[ -]?up)\b|authorization|authentication",
    re.IGNORECASE,
)
_INPUT = re.compile(
    r"\b(models?|endpoints?|prompts?|content (policy|filter|checker)|moderat\w*|nsfw|safety)\b|"
    r"access to (this |the )?app",
    re.IGNORECASE,
)


def json_of(content: bytes) -> Any:
    """The JSON value; None if it is none, or nested too deeply."""
    try:
        return read_json(content)
    except (ValueError, RecursionError):
        return None


def said(value: Any, depth: int = 0) -> str:
    """Text of an error's JSON in any shape; empty: it says nothing, as null, false, "" and {} do."""
    if depth > _DEEPEST:
        return "…"
    match value:
        case None | False:
            return ""
        case str():
            return value.strip()
        case list():
            return "; ".join(filter(None, (said(element, depth + 1) for element in value[:_MOST_ITEMS])))
        case dict():
            place, text = _place(value.get("loc")), _text_of(value, depth)
            return f"{place}: {text}" if place and text else text or place
        case _:
            return str(value)


def _text_of(value: dict[str, Any], depth: int) -> str:
    texts = (said(value.get(name), depth + 1) for name in _TEXTS)
    if text := next(filter(None, texts), ""):
        return text
    others = [(name, said(each, depth + 1)) for name, each in list(value.items())[:_MOST_ITEMS] if name not in _ECHOES]
    return "; ".join(f"{name}: {text}" for name, text in others if text)


def _place(loc: Any) -> str:
    """Place of an error in the input, `body.prompt`; empty: none is named."""
    parts = loc[:_MOST_ITEMS] if isinstance(loc, list) else [loc]
    return ".".join(str(part) for part in parts if isinstance(part, str | int) and not isinstance(part, bool))


def error_text(reply: httpx.Response) -> str:
    """Text of an error reply."""
    return _text(json_of(reply.content), reply.content)


def _text(document: Any, content: bytes) -> str:
    if document is None:
        return foreign_text(content[:4096].decode(errors="replace"), 300)
    return foreign_text(said(document))


def refusal(provider: str, title: str, reply: httpx.Response) -> ProviderError:
    """Error for a reply to a paid POST that is no acceptance. `title`: the provider's name in messages."""
    code, document = reply.status_code, json_of(reply.content)
    text = ": ".join(filter(None, (f"{title} answered {code}", _text(document, reply.content))))
    asked = retry_after(reply.headers)
    match code:
        case _ if code in NOT_TAKEN:
            return Busy(text).after(asked)
        case 401 | 402:
            return KeyRefused(provider, text)
        case 403:
            return _forbidden(provider, text, document, reply.headers)
        case _ if code in MAYBE_TAKEN or not 400 <= code < 500:
            return MaybeAccepted(text).after(asked)
        case 422 if may_pass(document, reply.headers):
            return InputUnread(text)
        case _:
            return Refused(text)


def _forbidden(provider: str, text: str, document: Any, headers: httpx.Headers) -> ProviderError:
    if not isinstance(document, dict | list):  # a page of a proxy or a firewall
        return Blocked(text)
    entries = list(_entries(document))
    if any(_is_of_input(entry.get("loc")) for entry in entries):
        return Refused(text)
    codes = [*_codes(entry for entry in entries if not _is_of_header(entry.get("loc")))]
    codes.append(headers.get("x-fal-error-type", ""))
    words = foreign_text(said(document))
    if any(_ACCOUNT.search(_CODE_BREAK.sub(" ", code)) for code in codes):
        return KeyRefused(provider, text)
    if any(map(_INPUT_CODE.search, codes)):
        return Refused(text)
    if _ACCOUNT.search(words):
        return KeyRefused(provider, text)
    return Refused(text) if _INPUT.search(words) else Blocked(text)


def _is_of_input(loc: Any) -> bool:
    parts = loc if isinstance(loc, list) else [loc] if isinstance(loc, str) else []
    return bool(parts) and parts not in (["body"], [""]) and not _is_of_header(loc)


def _is_of_header(loc: Any) -> bool:
    first = loc[0] if isinstance(loc, list) and loc else loc
    return first in ("header", "headers")


def may_pass(document: Any, headers: httpx.Headers | None = None) -> bool:
    """True if a refused input may be accepted later as it is: fal says so, or it could not fetch a file of ours.

    A LoRA's address that a user gives is no file of ours: it is in the request again, and fails again.
    """
    if headers is not None and headers.get("x-fal-retryable", "").strip().lower() == "true":
        return True
    unread = [entry for entry in _entries(document) if entry.get("type") == _UNREAD]
    return bool(unread) and not any("loras" in _place(error.get("loc")) for error in unread)


def is_repeatable(code: int, document: Any, headers: httpx.Headers | None = None) -> bool:
    """True if a request that failed with this HTTP status may succeed when it is bought again; False: its input was
    refused, and would be again.
    """
    return not 400 <= code < 500 or code in MAYBE_TAKEN or may_pass(document, headers)


def _codes(entries: Iterable[dict[str, Any]]) -> list[str]:
    given = (entry.get(name) for entry in entries for name in _CODES)
    return [code for code in given if isinstance(code, str)]


def _entries(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Objects in an error's JSON, at any level."""
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        yield value
    within = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    for member in within[:_MOST_ITEMS]:
        yield from _entries(member, depth + 1)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks to wait, 86400 at most; None without a valid `Retry-After` (RFC 9110)."""
    given = headers.get("retry-after", "").strip()[:64]
    try:
        seconds = float(given) if given.isascii() and given.isdigit() else _seconds_until(given)
    except (ValueError, OverflowError, TypeError, IndexError, AttributeError, OSError):  # of email.utils
        return None
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        return None
    return min(seconds, _MOST_WAIT)


def _seconds_until(date: str) -> float | None:
    return parsedate_to_datetime(date).timestamp() - time.time() if date else None
