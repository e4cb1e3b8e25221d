"""`Retry-After` of a reply: seconds, or an HTTP date (RFC 9110)."""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_MOST_SECONDS = 86400.0


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks to wait; None without a valid header. The header may have any content."""
    given = headers.get("retry-after", "").strip()[:64]
    try:
        seconds = float(given) if given.isascii() and given.isdigit() else _seconds_until(given)
    except (ValueError, OverflowError, TypeError, IndexError, AttributeError, OSError):  # of email.utils
        return None
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        return None
    return min(seconds, _MOST_SECONDS)


def _seconds_until(date: str) -> float | None:
    return parsedate_to_datetime(date).timestamp() - time.time() if date else None
