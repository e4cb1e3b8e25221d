"""Errors of MongoDB and S3 that a retry may resolve; defined once for the operator and the gateway.

STORE_ERRORS
├── PyMongoError                  MongoDB
├── BotoCoreError, ClientError    S3: connection, response
├── BucketMissing                 S3: the bucket does not exist
├── CreateOnlyIgnored             S3: an object can be created twice
├── WrongRegion                   S3: the bucket is in another region than the configured one
├── SessionTooShort               S3: a URL for a provider would end too early
└── NotDeleted                    S3: an object could not be deleted
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Literal

from botocore.exceptions import BotoCoreError, ClientError
from pymongo.errors import PyMongoError


class BucketMissing(Exception):
    """The bucket does not exist. This is an unavailable store, not a missing file."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"bucket {bucket!r} does not exist: create it")


class CreateOnlyIgnored(Exception):
    """The store ignores `If-None-Match: *`, so it cannot prove that a purchase is sent once."""

    def __init__(self, bucket: str) -> None:
        super().__init__(
            f"the store of bucket {bucket!r} overwrites an object in spite of If-None-Match: *, so nothing is paid: "
            "use a store with conditional writes"
        )


class SessionTooShort(Exception):
    """A URL for a provider would end with the session of the bucket's credentials, too early to be of use."""

    def __init__(self, lasts: timedelta, least: timedelta) -> None:
        super().__init__(
            f"the session of the bucket's credentials ends in {_minutes(lasts)} min, and a provider needs "
            f"{_minutes(least)} min to download its input: give the role longer sessions, raise "
            "storage.sessionSeconds, or use an access key"
        )


class WrongRegion(Exception):
    """The bucket is in another region than the configured one. boto3 follows the redirect of S3; workers and providers,
    whose URLs are signed for the configured region, get an error.
    """

    def __init__(self, bucket: str, found: str, configured: str) -> None:
        super().__init__(
            f"bucket {bucket!r} is in region {found}, not in {configured}, so no URL of it works: "
            f"set storage.region to {found}"
        )


class NotDeleted(Exception):
    """The store did not delete an object."""


STORE_ERRORS = (
    *(PyMongoError, BotoCoreError, ClientError),
    *(BucketMissing, CreateOnlyIgnored, WrongRegion, SessionTooShort, NotDeleted),
)


def store_of(error: Exception) -> Literal["MongoDB", "S3"]:
    """Store that raised one of STORE_ERRORS."""
    return "MongoDB" if isinstance(error, PyMongoError) else "S3"


def short_text(error: Exception) -> str:
    """Message of an error for the log, of at most 200 characters, without the query of a URL, which may hold a
    signature.
    """
    return (str(error) or type(error).__name__).split("?", maxsplit=1)[0][:200]


async def until_available(
    call: Callable[[], None], pauses: Iterable[float], on_error: Callable[[Exception, float], None]
) -> None:
    """Run a call in a thread until it raises none of STORE_ERRORS.

    `pauses` are the seconds between attempts; `on_error` gets each error and the pause that follows it.
    """
    for pause in pauses:
        try:
            await asyncio.to_thread(call)
            return
        except STORE_ERRORS as error:
            on_error(error, pause)
            await asyncio.sleep(pause)


def _minutes(time: timedelta) -> int:
    return max(0, int(time.total_seconds() // 60))
