"""Tokens revoked by a sign-out. All replicas refuse them, though Kubernetes still accepts them."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.collection import Collection

from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.stores import in_thread

_LONGEST = timedelta(days=3650)
_UNKNOWN = timedelta(days=366)


class SignOuts:
    """The collection `signed-out`: digests of tokens until they expire. pymongo calls run in a thread."""

    def __init__(self, collection: Collection[dict[str, Any]], clock: Clock = utc_now) -> None:
        self._collection = collection
        self._clock = clock

    @in_thread
    def has(self, digest: str) -> bool:
        """True if the token with this digest is revoked."""
        return self._collection.find_one({"_id": {"$eq": digest}}) is not None

    @in_thread
    def add(self, digest: str, until: datetime) -> None:
        """Revoke a token until it expires. Idempotent; deletes expired entries."""
        self._collection.update_one({"_id": {"$eq": digest}}, {"$set": {"until": until}}, upsert=True)
        self._collection.delete_many({"until": {"$lt": self._clock()}})


def expiry(token: str, now: datetime) -> datetime:
    """Expiry of an accepted token: its claim `exp`, or a year from now if that is missing or invalid."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return min(datetime.fromtimestamp(float(claims["exp"]), UTC), now + _LONGEST)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, OSError, RecursionError):
        return now + _UNKNOWN
