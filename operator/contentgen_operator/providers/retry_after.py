"""`Retry-After` of a reply: seconds, or an HTTP date (RFC 9110)."""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks to wait; None without a valid header. The header may have any content."""
    given = headers.get("retry-after", "").strip()[:64]
    try:
        seconds = float(given) if given.isascii() and given.isdigit() else _seconds_until(given)
    except (ValueError, OverflowError, TypeError):
        return None
    return seconds if seconds is not None and math.isfinite(seconds) and seconds > 0 else None


def _seconds_until(date: str) -> float | None:
    return parsedate_to_datetime(date).timestamp() - time.time() if date else None
