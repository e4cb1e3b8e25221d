"""Filters of the templates: formatting of times, sizes, amounts and names. Pure; unknown values become a dash."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

_DASH = "\u2013"  # a dash
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_KILO = 1000
_NAMES = {"Lora": "LoRA", "Id": "id"}
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def ago(instant: datetime | None, now: datetime) -> str:
    """Relative time: `3 min ago`, `in 2 h`."""
    if instant is None:
        return _DASH
    seconds = (now - instant).total_seconds()
    if abs(seconds) < _MINUTE:
        return "just now" if seconds >= 0 else "in a moment"
    if abs(seconds) >= 7 * _DAY:
        return day(instant) if instant.year == now.year else f"{day(instant)} {instant.year}"
    formatted = _largest(abs(seconds))
    return f"{formatted} ago" if seconds > 0 else f"in {formatted}"


def _largest(seconds: float) -> str:
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f} h"
    days = seconds // _DAY
    return f"{days:.0f} day{'s' if days > 1 else ''}"


def day(instant: datetime) -> str:
    """Day: `21 Nov`."""
    return f"{instant.day} {instant:%b}"


def moment(instant: datetime | None) -> str:
    """Time: `21 Nov 2026, 16:40:05 UTC`."""
    return f"{instant.day} {instant:%b %Y, %H:%M:%S} UTC" if instant else _DASH


def machine(instant: datetime | None) -> str:
    """Time for a `datetime` attribute; empty for None."""
    return instant.isoformat(timespec="seconds") if instant else ""


def span(given: float | timedelta | None) -> str:
    """Duration: `48 s`, `12 min 5 s`, `1 h 3 min`."""
    if given is None:
        return _DASH
    seconds = round(given.total_seconds() if isinstance(given, timedelta) else given)
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min" + (f" {seconds % _MINUTE} s" if seconds % _MINUTE else "")
    return f"{seconds // _HOUR} h" + (f" {seconds % _HOUR // _MINUTE} min" if seconds % _HOUR >= _MINUTE else "")


def clock(seconds: float) -> str:
    """Position in a recording: `4:05`, `1:02:07`."""
    whole = int(seconds)
    hours, minutes = whole // _HOUR, whole % _HOUR // _MINUTE
    return f"{hours}:{minutes:02}:{whole % _MINUTE:02}" if hours else f"{minutes}:{whole % _MINUTE:02}"


def size(count: float | None) -> str:
    """Size in bytes: `1.2 MB`."""
    if count is None:
        return _DASH
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < _KILO:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= _KILO
    return f"{count:,.1f} TB"


def money(amount: object, currency: str = "USD") -> str:
    """Amount: `$2.40`; below ten cents to a tenth of a cent, `< $0.001` for less."""
    try:
        value = float(str(amount))
    except ValueError:
        return _DASH
    formatted = f"{value:,.2f}" if value == 0 or value >= 0.1 else f"{max(value, 0.001):.3f}"
    less = "< " if 0 < value < 0.001 else ""
    return f"{less}${formatted}" if currency in ("USD", "") else f"{less}{formatted} {currency}"


def number(value: float | None) -> str:
    """Number: `12,345`."""
    return _DASH if value is None else f"{value:,.0f}"


def spaced(name: object) -> str:
    """CamelCase name as words: `Insufficient frames`."""
    words = _CAPITAL.sub(" ", str(name or "")).split(" ")
    return " ".join([words[0], *(_NAMES.get(word, word.lower()) for word in words[1:])])


def breakable(name: object) -> Markup:
    """CamelCase name, which a narrow column breaks between its words."""
    return Markup("<wbr>").join(_CAPITAL.split(str(name or "")))


_SOURCE = "spec.source.url: "


def sentence(text: object) -> str:
    """Sentence with a capital, unless it begins with a field name, and a full stop.

    The field of the source, which begins each message about its content, becomes a word.
    """
    found = str(text or "").strip()
    found = f"Source: {found.removeprefix(_SOURCE)}" if found.startswith(_SOURCE) else found
    begins_with_field = "." in found.partition(" ")[0]
    capitalized = found if begins_with_field else found[:1].upper() + found[1:]
    return capitalized + ("" if not found or found[-1] in ".!?:" else ".")


def account(name: str) -> str:
    """Name of a user without its prefix: `marketing/default` for a service account."""
    parts = name.split(":")
    return "/".join(parts[-2:]) if parts[:2] == ["system", "serviceaccount"] else parts[-1]


def plural(count: int, one: str, many: str = "") -> str:
    """Count with noun: `1 picture`, `3 pictures`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def query(given: Mapping[str, str], **changed: str) -> str:
    """Query string without empty values."""
    return urlencode({key: value for key, value in {**given, **changed}.items() if value})


FILTERS: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        account, ago, breakable, clock, day, machine, moment, money, number, plural, query, sentence, size, spaced,
        span,
    )
}  # fmt: skip
