"""Who asks: a bearer token, or the cookie of a browser that signed in with one. Kubernetes says whose it is."""

import hashlib
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from contentgen_contract.names import GATEWAY_AUDIENCE
from contentgen_gateway import metrics
from contentgen_gateway.auth.sign_outs import SignOuts, expiry
from contentgen_gateway.problems import Problem
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.kube import KubeApi

_REMEMBERED_SECONDS = 60.0
_REMEMBERED = 4096
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_SERVICE_ACCOUNT = "system:serviceaccount:"
_SERVICE_ACCOUNTS = "system:serviceaccounts:"  # the group that Kubernetes puts them in, by namespace


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whom Kubernetes knows."""

    name: str
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def home(self) -> str | None:
        """The namespace of a service account."""
        return self.name.split(":")[2] if self.name.startswith(_SERVICE_ACCOUNT) else None

    @property
    def counted_as(self) -> str:
        """The name that limits count by: one for all service accounts of a namespace, of which a tenant can make any
        number.
        """
        return f"{_SERVICE_ACCOUNTS}{self.home}" if self.home is not None else self.name


ANYBODY = Caller("anybody")
"""Who asks where there is no sign-in."""


class Authenticator:
    """Tokens to callers, remembered for a minute; of too many, the one used longest ago is forgotten."""

    def __init__(
        self,
        kube: KubeApi,
        signed_out: SignOuts,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Clock = utc_now,
    ) -> None:
        self._kube = kube
        self._wall = wall
        self._signed_out = signed_out
        self._clock = clock
        self._cached: OrderedDict[str, tuple[float, Caller]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._cached)

    async def authenticate(self, token: str) -> Caller:
        """Whose token it is. Raises Problem 401."""
        if _TOKEN.fullmatch(token) is None:  # the API server reads a token up to the first space
            raise unauthenticated("a token has letters, digits and -._~+/= alone")
        digest = _digest(token)
        cached_at, caller = self._cached.get(digest, (-math.inf, ANYBODY))
        if self._clock() - cached_at < _REMEMBERED_SECONDS:
            self._cached.move_to_end(digest)
            return caller
        review = await self._kube.review_token(token, GATEWAY_AUDIENCE)
        try:
            caller = _caller_of(review)
            await self._refuse_signed_out(_claims_digest(token))
        except Problem:
            self._cached.pop(digest, None)
            raise
        self._cache(digest, caller)
        return caller

    async def _refuse_signed_out(self, digest: str) -> None:
        if await self._signed_out.has(digest):
            raise unauthenticated("somebody has signed out with this token")

    async def sign_out(self, token: str) -> None:
        """Refuse a token: here at once, at other replicas within a minute. One that is not good is let be."""
        try:
            await self.authenticate(token)
        except Problem:
            return
        await self._signed_out.add(_claims_digest(token), expiry(token, self._wall()))
        self._cached.pop(_digest(token), None)

    def _cache(self, digest: str, caller: Caller) -> None:
        self._cached[digest] = (self._clock(), caller)
        self._cached.move_to_end(digest)
        while len(self._cached) > _REMEMBERED:
            self._cached.popitem(last=False)

    def last_known(self, token: str) -> Caller | None:
        """Whose token it was when that was asked last, however long ago: to count by, and to allow nothing."""
        known = self._cached.get(_digest(token))
        return known[1] if known is not None else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def _claims_digest(token: str) -> str:
    """The digest of what a JWT's signature covers; of the whole token where it is none.

    The signature itself can be written in several ways that are all valid.
    """
    signed, dot, _ = token.rpartition(".")
    return _digest(signed if dot and "." in signed else token)


def _caller_of(review: dict[str, object]) -> Caller:
    user = review.get("user")
    audiences = review.get("audiences")
    known = review.get("authenticated") and isinstance(audiences, list) and GATEWAY_AUDIENCE in audiences
    if not known or not isinstance(user, dict):
        metrics.sign_ins_refused.inc()
        raise unauthenticated("the token is not one that this cluster gave for the gateway, or it has expired")
    extra = tuple(sorted((key, tuple(values)) for key, values in (user.get("extra") or {}).items()))
    return Caller(str(user["username"]), tuple(user.get("groups") or ()), extra)


def unauthenticated(why: str) -> Problem:
    """401, with how to get a token."""
    advice = f"{why}; make one with: kubectl create token NAME --audience {GATEWAY_AUDIENCE}"
    return Problem(401, advice, headers={"WWW-Authenticate": "Bearer"})
