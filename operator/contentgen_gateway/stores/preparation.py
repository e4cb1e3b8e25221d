"""Creation of the gateway's own indexes at the start, once MongoDB is available."""

import itertools
import logging
from collections.abc import Callable, Iterable

from contentgen_runtime.store_errors import until_available

_log = logging.getLogger(__name__)
_PAUSE_SECONDS = 5.0


async def prepare(create_indexes: Iterable[Callable[[], None]]) -> None:
    """Create the indexes; returns when all of them exist. Idempotent."""
    for index in create_indexes:
        await until_available(index, itertools.repeat(_PAUSE_SECONDS), _note)


def _note(error: Exception, _pause: float) -> None:
    _log.warning("the indexes wait for MongoDB: %s", str(error)[:200])
