"""Operator's clock: UTC in whole seconds, as Kubernetes stores times."""

from datetime import datetime

from contentgen_runtime import clock


def utc_now() -> datetime:
    """Current time in UTC, to the second."""
    return clock.utc_now().replace(microsecond=0)
