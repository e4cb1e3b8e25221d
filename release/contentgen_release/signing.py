"""ECDSA P-256 signatures in the format of cosign: of files, and of images as simple-signing artifacts.

Signatures are deterministic (RFC 6979), so that two builds of a release have the same files.
"""

import base64
import binascii
import json
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from contentgen_release.artifacts import oci
from contentgen_release.errors import ReleaseError

PUBLIC_KEY = "contentgen.pub"
PASSWORD = "CONTENTGEN_KEY_PASSWORD"  # noqa: S105 # the variable's name
_ANNOTATION = "dev.cosignproject.cosign/signature"
_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_P256 = "expected an ECDSA key on the curve P-256 in PEM"


class Signer:
    """Signatures with one private key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def public_pem(self) -> bytes:
        """Public key as PEM."""
        kind = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, kind)

    def sign(self, content: bytes) -> bytes:
        """Base64 of the DER signature over the SHA-256 of the content, as `cosign sign-blob` writes it."""
        return base64.b64encode(self._key.sign(content, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))


def load_signer(path: Path) -> Signer:
    """Signer with the key of a PEM file, whose password is in CONTENTGEN_KEY_PASSWORD. Raises ReleaseError."""
    password = os.environ.get(PASSWORD)
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password.encode() if password else None)
    except OSError as error:
        raise ReleaseError(f"KEY={path}: {error.strerror}") from None
    except (TypeError, ValueError) as error:
        if isinstance(error, TypeError):
            raise ReleaseError(f"KEY={path}: set {PASSWORD} for an encrypted key only, and unset it else") from None
        raise ReleaseError(f"KEY={path}: the password in {PASSWORD} is wrong, or: {_P256}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ReleaseError(f"KEY={path}: {_P256}")
    return Signer(key)


def verify(public_pem: bytes, content: bytes, signature: bytes, what: str) -> None:
    """Verify a signature of `Signer.sign`. Raises ReleaseError, which names `what`."""
    try:
        key = serialization.load_pem_public_key(public_pem)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ReleaseError(f"the public key is of another kind: {_P256}")
        key.verify(base64.b64decode(signature, validate=True), content, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error):
        raise ReleaseError(f"{what}: the signature was not made with this key, or the content has changed") from None
    except ValueError:
        raise ReleaseError(f"the public key cannot be read: {_P256}") from None


def fingerprint(public_pem: bytes) -> str:
    """SHA-256 of the public key (DER), for comparison by people."""
    key = serialization.load_pem_public_key(public_pem)
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return oci.digest_of(der)


def sign_image(signer: Signer, reference: str, digest: str, path: Path) -> str:
    """Write cosign's signature artifact of an image as an OCI layout; returns the tag that cosign looks up."""
    payload = oci.encoded(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": None,
        }
    )
    config = oci.encoded(
        {
            "architecture": "",
            "os": "",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [oci.digest_of(payload)]},
        }
    )
    tag = signature_tag(digest)
    oci.write_artifact(
        path,
        tag,
        config=(config, _CONFIG),
        layer=(payload, _PAYLOAD),
        annotations={"layer": {_ANNOTATION: signer.sign(payload).decode()}},
    )
    return tag


def verify_image(public_pem: bytes, path: Path, digest: str) -> None:
    """Verify a signature artifact of `sign_image`. Raises ReleaseError if it is of another key or image."""
    with oci.opened(path) as (entry, blobs):
        layer = oci.json_blob(blobs, entry["digest"])["layers"][0]
        with blobs[layer["digest"]][1]() as content:
            payload = content.read()
    verify(public_pem, payload, layer["annotations"][_ANNOTATION].encode(), path.name)
    signed = json.loads(payload)["critical"]["image"]["docker-manifest-digest"]
    if signed != digest:
        raise ReleaseError(f"{path.name} signs {signed}: expected {digest}")


def signature_tag(digest: str) -> str:
    """Tag under which cosign stores the signature of a digest."""
    return f"{digest.replace(':', '-')}.sig"
