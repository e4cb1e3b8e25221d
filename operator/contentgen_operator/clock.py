"""Time as it is passed in: UTC, whole seconds where Kubernetes stores no more."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Now, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
