"""Time as it is passed in: UTC, whole seconds where Kubernetes stores no more."""

from datetime import datetime

from contentgen_runtime import clock


def utc_now() -> datetime:
    """Current time in UTC, to the second."""
    return clock.utc_now().replace(microsecond=0)
