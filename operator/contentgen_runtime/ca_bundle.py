"""Private CAs of an installation (the chart's `caBundle`), for clients that read their CAs from a file, as boto3 does.

The file has the public CAs and the private ones. A client reads it at each new connection, so a changed bundle is in
use without a new client.
"""

import re
import ssl
import tempfile
from pathlib import Path

import certifi

from contentgen_runtime.rotation import Rotated

MAX_BYTES = 1 << 20  # of a bundle: a ConfigMap's maximum
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")


def read_bundle(file: Path) -> str | None:
    """PEM certificates of a bundle, without its comments; None if it is missing, too large or has none."""
    try:
        content = file.read_bytes()
        pem = b"\n".join(_CERTIFICATE.findall(content)).decode("ascii")
        if len(content) > MAX_BYTES or not pem:
            return None
        ssl.create_default_context(cadata=pem)
    except (OSError, UnicodeDecodeError):  # ssl.SSLError is an OSError
        return None
    return pem


class CombinedBundle:
    """File with the public CAs and those of `file`. `refresh` adds the CAs of a changed bundle; one that is not PEM
    changes nothing.
    """

    def __init__(self, file: Path) -> None:
        """Raises ValueError for a missing file, or one that is not PEM."""
        pem = read_bundle(file)
        if pem is None:
            raise ValueError(f"CONTENTGEN_CA_FILE: {file} is missing, unreadable or has no PEM certificate")
        with tempfile.NamedTemporaryFile("w", prefix="contentgen-ca-", suffix=".pem", delete=False) as combined:
            self.path = Path(combined.name)
        self._write(pem)
        self._rotated = Rotated("CA bundle", lambda: read_bundle(file), self._write, in_use=pem)

    def refresh(self) -> None:
        """See `Refreshed`."""
        self._rotated.refresh()

    def _write(self, pem: str) -> None:
        public = Path(certifi.where()).read_text(encoding="ascii")
        new = self.path.with_suffix(".new")
        new.write_text(f"{public}\n{pem}", encoding="ascii")
        new.replace(self.path)
