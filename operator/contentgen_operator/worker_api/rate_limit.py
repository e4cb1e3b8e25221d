"""Rate limits of the worker API, in bounded memory: requests by token, by Job and by namespace; token reviews by
address, by Job and at a time.
"""

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from contentgen_runtime.caches import BoundedDict
from contentgen_runtime.clock import MonotonicClock
from contentgen_runtime.http_server.token_buckets import RateLimit, TokenBuckets

T = TypeVar("T")


# A worker requests one order, reports progress once a second, and uploads 4,096 files in 16 requests in a row.
REQUESTS = RateLimit(burst=60, per_second=10)
# Requests of all tokens of a Job: its pod has one, and two for a moment when the kubelet renews it.
JOB_REQUESTS = RateLimit(burst=120, per_second=20)
# Orders of a Job, of 14 signatures each; a worker requests one, and another if a URL has expired.
JOB_ORDERS = RateLimit(burst=20, per_second=0.2)
# Signed uploads of a Job, by file: all of an attempt at once, then those whose grants have expired.
JOB_FILES = RateLimit(burst=4096, per_second=20)
# Limits of all Jobs of a namespace, which would multiply those of one Job. 50 Jobs stay within them, each with progress
# once a second and a dataset of 150 pictures; 50 Jobs with 1,000 pictures each have their 100,000 files signed in 3
# minutes.
NAMESPACE_REQUESTS = RateLimit(burst=2400, per_second=200)
NAMESPACE_ORDERS = RateLimit(burst=400, per_second=4)
NAMESPACE_FILES = RateLimit(burst=32768, per_second=400)
# Reviews of invalid tokens; those of workers are given back, up to the next limit.
REVIEWS = RateLimit(burst=60, per_second=1)
# Reviews of a Job's tokens: a worker needs one every four minutes; a user who may create tokens can cause any number.
JOB_REVIEWS = RateLimit(burst=10, per_second=1 / 30)
_REMEMBERED = 4096  # tokens
_REVIEWS_AT_ONCE = 8
_REVIEWS_WAITING = 64
_BAD_SECONDS = 5.0  # less than a worker retries for: TokenReview may not know a new token yet
_GOOD_SECONDS = 240.0  # less than the cache of identities, so that no look-up within it needs a review
_BUSY_SECONDS = 1.0


class TooManyRequests(Exception):
    """A limit is exceeded; retry after `retry_after` seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too many requests; try again in {retry_after:.0f} s")
        self.retry_after = max(1, math.ceil(retry_after))


class TooManyReviews(TooManyRequests):
    """The tokens of a Job were reviewed too often; the requesting address is charged."""


class Admission:
    """Limits the authentication of tokens, which may cost a TokenReview.

    A token that was accepted recently is admitted. For others, reviews are limited by Job, by address (invalid ones,
    and those beyond the Job's limit), and in parallel. A refusal is cached for seconds.
    """

    def __init__(
        self,
        clock: MonotonicClock = time.monotonic,
        refusals: tuple[type[Exception], ...] = (),
        remembered: int = _REMEMBERED,
    ) -> None:
        self._clock = clock
        self._refusals = refusals
        self._reviews = TokenBuckets(REVIEWS, clock)
        self._job_reviews = TokenBuckets(JOB_REVIEWS, clock)
        self._slots = asyncio.Semaphore(_REVIEWS_AT_ONCE)
        self._pending = 0
        self._good: BoundedDict[str, float] = BoundedDict(remembered)
        self._bad: BoundedDict[str, tuple[float, type[Exception], tuple[Any, ...]]] = BoundedDict(remembered)

    def __len__(self) -> int:
        return len(self._good) + len(self._bad)

    async def admit(
        self, token: str, address: str, look_up: Callable[[str], Awaitable[T]], job_uid: Callable[[T], str]
    ) -> T:
        """Result of `look_up`, whose Job is `job_uid(result)`.

        Raises the errors of `look_up`, a cached refusal, or TooManyRequests.
        """
        digest = hashlib.sha256(token.encode()).hexdigest()
        self._raise_remembered(digest)
        if self._clock() - self._good.get(digest, -math.inf) < _GOOD_SECONDS:
            return await self._judged(digest, token, look_up)
        if wait := self._reviews.take(address):
            raise TooManyRequests(wait)
        charged = False
        try:
            result = await self._in_turn(digest, token, look_up)
            if wait := self._job_reviews.take(job_uid(result)):
                raise TooManyReviews(wait)
        except Exception as error:
            charged = isinstance(error, (*self._refusals, TooManyReviews))
            raise
        finally:
            if not charged:
                self._reviews.give_back(address)
        self._good[digest] = self._clock()
        return result

    async def _in_turn(self, digest: str, token: str, look_up: Callable[[str], Awaitable[T]]) -> T:
        if self._pending >= _REVIEWS_AT_ONCE + _REVIEWS_WAITING:
            raise TooManyRequests(_BUSY_SECONDS)
        self._pending += 1
        try:
            async with self._slots:
                self._raise_remembered(digest)  # a concurrent request with this token may have been refused
                return await self._judged(digest, token, look_up)
        finally:
            self._pending -= 1

    async def _judged(self, digest: str, token: str, look_up: Callable[[str], Awaitable[T]]) -> T:
        try:
            return await look_up(token)
        except self._refusals as error:
            self._good.pop(digest, None)
            self._bad[digest] = self._clock(), type(error), error.args
            raise

    def _raise_remembered(self, digest: str) -> None:
        known = self._bad.get(digest)
        if known is not None and self._clock() - known[0] < _BAD_SECONDS:
            raise known[1](*known[2])


class RateLimitMiddleware:
    """ASGI middleware: rate limit by bearer token, or by address without one. Answers 429 with Retry-After."""

    def __init__(self, app: ASGIApp, limiter: TokenBuckets) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is within the limit; no body is read before."""
        wait = self._limiter.take(_caller(scope)) if scope["type"] == "http" else 0
        if wait:
            await too_many(TooManyRequests(wait))(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def too_many(error: TooManyRequests) -> JSONResponse:
    """429 response."""
    return JSONResponse({"detail": str(error)}, 429, headers={"Retry-After": str(error.retry_after)})


def address_of(scope: Scope) -> str:
    """IP address of the peer."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _caller(scope: Scope) -> str:
    credentials = Headers(scope=scope).get("authorization")
    return hashlib.sha256(credentials.encode()).hexdigest() if credentials else address_of(scope)
