"""Authentication of callers: Kubernetes reviews the token of the request."""

import hashlib
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from contentgen_contract.names import GATEWAY_AUDIENCE
from contentgen_gateway import metrics
from contentgen_gateway.auth.sign_outs import SignOuts, expiry
from contentgen_gateway.problems import Problem
from contentgen_runtime.caches import BoundedDict
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.kube import KubeApi

_REMEMBERED_SECONDS = 60.0
_REMEMBERED = 4096
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_SERVICE_ACCOUNT = "system:serviceaccount:"
_SERVICE_ACCOUNTS = "system:serviceaccounts:"  # prefix of the group of a namespace's service accounts


@dataclass(frozen=True, slots=True)
class Caller:
    """User or service account that Kubernetes has authenticated."""

    name: str
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def home(self) -> str | None:
        """Namespace of a service account; None for a user."""
        return self.name.split(":")[2] if self.name.startswith(_SERVICE_ACCOUNT) else None

    @property
    def counted_as(self) -> str:
        """Name for rate limits: one for all service accounts of a namespace, since a tenant can create any number."""
        return f"{_SERVICE_ACCOUNTS}{self.home}" if self.home is not None else self.name


ANYBODY = Caller("anybody")
"""The caller if sign-in is off."""


class Authenticator:
    """Reviews of tokens, cached for a minute; the cache drops the least recently used one."""

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
        self._cached: BoundedDict[str, tuple[float, Caller]] = BoundedDict(_REMEMBERED)

    def __len__(self) -> int:
        return len(self._cached)

    async def authenticate(self, token: str) -> Caller:
        """Caller of a token. Raises Problem 401."""
        if _TOKEN.fullmatch(token) is None:  # the API server ignores everything after a space
            raise unauthenticated("a token may contain only letters, digits and -._~+/=")
        digest = _digest(token)
        cached_at, caller = self._cached.get(digest, (-math.inf, ANYBODY))
        if self._clock() - cached_at < _REMEMBERED_SECONDS:
            self._cached[digest] = cached_at, caller  # the newest one
            return caller
        review = await self._kube.review_token(token, GATEWAY_AUDIENCE)
        try:
            caller = _caller_of(review)
            await self._refuse_signed_out(_claims_digest(token))
        except Problem:
            self._cached.pop(digest, None)
            raise
        self._cached[digest] = self._clock(), caller
        return caller

    async def _refuse_signed_out(self, digest: str) -> None:
        if await self._signed_out.has(digest):
            raise unauthenticated("this token was revoked when its owner signed out")

    async def sign_out(self, token: str) -> None:
        """Revoke a token: at once in this replica, within a minute in others. An invalid token is ignored."""
        try:
            await self.authenticate(token)
        except Problem:
            return
        await self._signed_out.add(_claims_digest(token), expiry(token, self._wall()))
        self._cached.pop(_digest(token), None)

    def last_known(self, token: str) -> Caller | None:
        """Caller of a token at its last review, None if unknown. The review may be old: for rate limits and names."""
        known = self._cached.get(_digest(token))
        return known[1] if known is not None else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def _claims_digest(token: str) -> str:
    """Digest of the signed part of a JWT; of the whole token if it is not a JWT.

    A signature has several valid encodings, so it is left out.
    """
    signed, dot, _ = token.rpartition(".")
    return _digest(signed if dot and "." in signed else token)


def _caller_of(review: dict[str, object]) -> Caller:
    user = review.get("user")
    audiences = review.get("audiences")
    known = review.get("authenticated") and isinstance(audiences, list) and GATEWAY_AUDIENCE in audiences
    if not known or not isinstance(user, dict):
        metrics.sign_ins_refused.inc()
        raise unauthenticated("the token is not a token of this cluster for the gateway, or it has expired")
    extra = tuple(sorted((key, tuple(values)) for key, values in (user.get("extra") or {}).items()))
    return Caller(str(user["username"]), tuple(user.get("groups") or ()), extra)


def unauthenticated(why: str) -> Problem:
    """Problem 401, with the command that creates a token."""
    advice = f"{why}; create one with: kubectl create token NAME --audience {GATEWAY_AUDIENCE}"
    return Problem(401, advice, headers={"WWW-Authenticate": "Bearer"})
