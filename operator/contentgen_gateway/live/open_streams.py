"""Limit of open streams for each caller: a stream holds memory until its client disconnects."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from contentgen_gateway import metrics
from contentgen_gateway.problems import Problem

_RETRY_SECONDS = 10


class OpenStreams:
    """Open streams of this replica by caller."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def track(self, caller: str, most: int) -> Iterator[None]:
        """Count a stream for the duration of the context. Raises Problem 429 if the caller has `most` open already."""
        if self._open[caller] >= most:
            metrics.refused.labels("streams").inc()
            detail = f"limit of {most} open streams for each caller reached; close one first"
            raise Problem(429, detail, headers={"Retry-After": str(_RETRY_SECONDS)})
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
