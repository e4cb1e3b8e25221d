"""What the gateway's own collections need at the start."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from pymongo.errors import PyMongoError

_log = logging.getLogger(__name__)
_PAUSE_SECONDS = 5.0


async def prepare(create_indexes: Iterable[Callable[[], None]]) -> None:
    """Make the indexes, as soon as MongoDB is there. Idempotent."""
    for each in create_indexes:
        while True:
            try:
                await asyncio.to_thread(each)
                break
            except PyMongoError as error:
                _log.warning("the indexes wait for MongoDB: %s", str(error)[:200])
                await asyncio.sleep(_PAUSE_SECONDS)
