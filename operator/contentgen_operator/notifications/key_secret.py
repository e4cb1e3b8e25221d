"""The Secret of the signing keys: the operator makes the keys, stores them there and rotates them."""

import logging
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta

from contentgen_operator.clock import utc_now
from contentgen_operator.kube.api import Kube
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.notifications.signing import KeyTerm, SigningKey, keys_of, rotated
from contentgen_runtime.kube import API_ERRORS, Conflict, explain

_log = logging.getLogger(__name__)
_READ_AGAIN = timedelta(minutes=1)
_TRIES = 5


@dataclass
class KeySecret:
    """Our own Secret. It is read once a minute, so that a deleted key is replaced without a restart.

    `check` raises Conflict if this process does not lead.
    """

    kube: Kube
    namespace: str
    name: str
    _: KW_ONLY
    term: KeyTerm = field(default_factory=KeyTerm)
    check: Check = unchecked
    clock: Callable[[], datetime] = utc_now
    _keys: tuple[SigningKey, ...] = field(default=(), init=False)
    _read_at: datetime | None = field(default=None, init=False)

    async def keys(self) -> tuple[SigningKey, ...]:
        """Active keys, newest first; empty while there is none, and then nothing can be sent."""
        now = self.clock()
        if self._read_at is None or not self._read_at <= now < self._read_at + _READ_AGAIN:
            self._read_at = now  # also after an error: it is tried again in a minute
            try:
                self._keys = await self._current(now)
            except (Conflict, *API_ERRORS) as error:
                text = "the signing keys of notifications (Secret %s/%s) cannot be read: %s"
                _log.warning(text, self.namespace, self.name, explain(error))
        return self._keys

    async def _current(self, now: datetime) -> tuple[SigningKey, ...]:
        """Keys of the Secret, which is written if one is due. Concurrent operators agree on one."""
        for _ in range(_TRIES):
            version, data = await self.kube.get_secret_data(self.namespace, self.name)
            wanted = rotated(data, now, self.term)
            if wanted == data:
                return keys_of(data)
            self.check()
            try:
                await self.kube.patch_secret_data(self.namespace, self.name, version, wanted)
            except Conflict:
                continue
            _log.info("the signing keys of notifications are renewed: %d are active", len(keys_of(wanted)))
            return keys_of(wanted)
        raise Conflict(f"Secret {self.namespace}/{self.name} keeps changing")
