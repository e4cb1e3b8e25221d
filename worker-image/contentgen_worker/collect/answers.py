"""Reading of a provider's answer: text, numbers and JSON that may be anything. Pure.

What a stage needs decides over the result. A side fact that is missing is None; one of another type or out of range is
None with a note. Nothing here raises for odd input except `read_json`, for a text that is not JSON.
"""

import json
import math
import re
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

from contentgen_contract.worker.orders import MAX_NOTES, MAX_SECONDS, exact_seed

T = TypeVar("T")

_NOTE = 200  # characters
_SHOWN = 40
_LABEL = 64
_LONGEST_LANGUAGE = 35
_MAX_DIGITS = 64  # of an integer; Python refuses to read or print very long ones
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_GZIP_MAGIC = b"\x1f\x8b"


def read_json(content: bytes, max_bytes: int) -> Any:
    """JSON value without characters that can't be stored or shown, infinite numbers and NaN. Raises ValueError.

    Invalid UTF-8 is replaced; a text compressed with gzip is unpacked, to `max_bytes` at most.
    """
    if content.startswith(_GZIP_MAGIC):
        content = _unpacked(content, max_bytes)
    text = content.decode(json.detect_encoding(content), "replace")
    try:
        return _clean(json.loads(text, parse_int=_integer, parse_float=_finite_or_none, parse_constant=lambda _: None))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def clean_text(text: str) -> str:
    """The text with halves of surrogate pairs, controls except tab and line ends, and text directions replaced."""
    return _UNSHOWABLE.sub(_REPLACEMENT, text)


def shown(value: object) -> str:
    """A value for a message: short, on one line."""
    match value:
        case str():
            text = repr(clean_text(value[: _SHOWN + 1]))
        case bool() | int() | float() | None:
            text = json.dumps(value)
        case list():
            return f"a list of {len(value)}"
        case _:
            return "an object"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def bounded_notes(notes: list[str]) -> tuple[str, ...]:
    """The notes, shortened to their limits in an outcome."""
    kept = [fromkey if len(fromkey) <= _NOTE else f"{fromkey[: _NOTE - 1]}…" for fromkey in dict.fromkeys(notes)]
    return tuple(kept if len(kept) <= MAX_NOTES else [*kept[: MAX_NOTES - 1], f"{len(kept) - MAX_NOTES + 1} more"])


class SideFacts:
    """Optional values of an answer; `notes` says which could not be read."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def read(self, name: str, value: object, parse: Callable[[object], T]) -> T | None:
        """The parsed value; None if it is missing, and None with a note if `parse` raises ValueError."""
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError:
            self.notes.append(f"{name} of the provider is {shown(value)}, which is left out")
            return None


def seed(value: object) -> int | str:
    """A seed of at most 64 bits, also as text. Raises ValueError."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return exact_seed(_whole(value))


def seconds(value: object) -> float:
    """A length in seconds. Raises ValueError."""
    return _number(value, MAX_SECONDS)


def milliseconds(value: object) -> int:
    """A time in a recording. Raises ValueError."""
    return round(_number(value, MAX_SECONDS * 1000))


def language(value: object) -> str:
    """A language tag. Raises ValueError."""
    if isinstance(value, str) and re.fullmatch(rf"[A-Za-z0-9_-]{{1,{_LONGEST_LANGUAGE}}}", value):
        return value
    raise ValueError


def label(value: object) -> str:
    """A speaker's label, on one line and without what has a meaning in subtitles. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError
    return " ".join(re.sub(r"[<>&]|--+", " ", value).split())[:_LABEL]


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError
    return value


def _number(value: object, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError
    return float(value)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MAX_DIGITS else digits


def _finite_or_none(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _clean(value: Any) -> Any:
    match value:
        case str():
            return clean_text(value)
        case list():
            return [_clean(element) for element in value]
        case dict():
            return {clean_text(name): _clean(member) for name, member in value.items()}
        case _:
            return value


def _unpacked(content: bytes, max_bytes: int) -> bytes:
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        text = inflate.decompress(content, max_bytes)
    except zlib.error as error:
        raise ValueError(f"invalid gzip: {error}") from None
    if not inflate.eof:
        raise ValueError(f"gzip that is cut off, or has more than {max_bytes} bytes")
    return text
