"""Operator's clock: UTC in whole seconds, as Kubernetes stores times; and times in responses of providers."""

from datetime import UTC, datetime

from contentgen_runtime import clock


def utc_now() -> datetime:
    """Current time in UTC, to the second."""
    return clock.utc_now().replace(microsecond=0)


def parse_time(given: object) -> datetime | None:
    """Time in ISO 8601; UTC if it names no zone, None if it is malformed."""
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
