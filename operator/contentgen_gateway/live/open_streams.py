"""How many streams each caller has open: each holds memory for as long as its client likes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from contentgen_gateway import metrics
from contentgen_gateway.problems import Problem

_RETRY_SECONDS = 10


class OpenStreams:
    """Of one replica. A caller without streams takes no room here."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def one(self, caller: str, most: int) -> Iterator[None]:
        """A stream that lasts as long as this. Raises Problem 429 where the caller has `most` open already."""
        if self._open[caller] >= most:
            metrics.refused.labels("streams").inc()
            detail = f"you have {most} streams open, and may have no more; close one of them first"
            raise Problem(429, detail, headers={"Retry-After": str(_RETRY_SECONDS)})
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]
