"""Creation of the bucket and the indexes at the start, once the stores are available."""

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Protocol

from contentgen_operator import metrics
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime.store_errors import store_of, until_available

_log = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 60.0


class Indexed(Protocol):
    """A store with indexes."""

    def create_indexes(self) -> None:
        """Create them. Idempotent."""


async def prepare_stores(storage: Storage, indexed: Iterable[Indexed]) -> None:
    """Create the bucket and the indexes; returns when all of them exist. Idempotent."""
    for prepare in (storage.ensure_bucket, *(store.create_indexes for store in indexed)):
        await until_available(prepare, _pauses(), partial(_note, prepare.__qualname__))


def _pauses() -> Iterator[float]:
    """2, 4, 8 … 60 s."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _note(what: str, error: Exception, pause: float) -> None:
    metrics.store_errors.labels(store_of(error)).inc()
    _log.warning("%s: %s; again in %.0f s", what, error, pause)
