"""Ed25519 keys that sign notifications, and their rotation. Pure.

Signatures are those of Standard Webhooks (`v1a`): over `id.timestamp.body`, in base64. All active keys sign each
message, so a receiver that knows an older key verifies it during a rotation. The public keys are published as JWKS
(RFC 7517, RFC 8037).
"""

import base64
import hashlib
import itertools
import json
from collections.abc import Iterable
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import TypeAdapter, ValidationError

from contentgen_contract.base import Value

PRIVATE, PUBLIC = "keys.json", "jwks.json"
"""Entries of the Secret. The gateway mounts the second one only."""


class KeyTerm(Value):
    """Times of a rotation: the age at which a key is replaced, and how long it signs and is published afterwards."""

    replaced_after: timedelta = timedelta(days=180)
    overlap: timedelta = timedelta(days=30)


class SigningKey(Value):
    """A private key: its 32 bytes in base64."""

    created_at: datetime
    private: str

    @property
    def key(self) -> Ed25519PrivateKey:
        """The key. Raises ValueError if it is malformed."""
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(self.private, validate=True))

    @property
    def public(self) -> bytes:
        """The public key's 32 bytes."""
        return self.key.public_key().public_bytes_raw()


_KEYS = TypeAdapter(tuple[SigningKey, ...])


def new_key(now: datetime) -> SigningKey:
    """New random key."""
    private = Ed25519PrivateKey.generate().private_bytes_raw()
    return SigningKey(created_at=now, private=base64.b64encode(private).decode())


def keys_of(data: dict[str, bytes]) -> tuple[SigningKey, ...]:
    """Keys of a Secret, newest first; none if they cannot be read."""
    try:
        keys = _KEYS.validate_json(data.get(PRIVATE, b""))
        for key in keys:
            assert key.key  # noqa: S101 - raises ValueError
    except (ValidationError, ValueError):
        return ()
    return tuple(sorted(keys, key=lambda each: each.created_at, reverse=True))


def rotated(data: dict[str, bytes], now: datetime, term: KeyTerm) -> dict[str, bytes]:
    """Data that the Secret should have: unchanged while its newest key is young and no older one has run out."""
    # A time in the future is of an operator whose clock was wrong: the key counts as new, and no other one is made.
    keys = tuple(each.model_copy(update={"created_at": min(each.created_at, now)}) for each in keys_of(data))
    if not keys or now >= keys[0].created_at + term.replaced_after:
        keys = (new_key(now), *keys)
    # A key runs out one overlap after its successor was made.
    active = [keys[0], *(old for new, old in itertools.pairwise(keys) if now < new.created_at + term.overlap)]
    return {PRIVATE: _KEYS.dump_json(tuple(active), by_alias=True), PUBLIC: jwks(active)}


def jwks(keys: Iterable[SigningKey]) -> bytes:
    """Public keys as a JSON Web Key Set; `whpk` is the form of Standard Webhooks' libraries."""
    listed = [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": hashlib.sha256(key.public).hexdigest()[:16],
            "x": base64.urlsafe_b64encode(key.public).rstrip(b"=").decode(),
            "whpk": f"whpk_{base64.b64encode(key.public).decode()}",
        }
        for key in keys
    ]
    return json.dumps({"keys": listed}, separators=(",", ":")).encode()


def signed_headers(identity: str, payload: str, now: datetime, keys: Iterable[SigningKey]) -> dict[str, str]:
    """Headers of Standard Webhooks for a message that is sent now."""
    stamp = str(int(now.timestamp()))
    content = f"{identity}.{stamp}.{payload}".encode()
    signatures = [f"v1a,{base64.b64encode(key.key.sign(content)).decode()}" for key in keys]
    return {"webhook-id": identity, "webhook-timestamp": stamp, "webhook-signature": " ".join(signatures)}
