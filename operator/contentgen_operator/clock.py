"""Clock of the operator: UTC in whole seconds, because Kubernetes stores no more."""

from datetime import datetime

from contentgen_runtime import clock


def utc_now() -> datetime:
    """Current time in UTC, to the second."""
    return clock.utc_now().replace(microsecond=0)
