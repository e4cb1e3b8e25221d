"""Private CAs of an installation (the chart's `caBundle`), for clients that read their CAs from a file, as boto3 does.

The file has the public CAs and the private ones. A client reads it at each new connection, so a changed bundle is in
use without a new client.
"""

import logging
import re
import ssl
import tempfile
from pathlib import Path

import certifi

from contentgen_runtime.rotation import Rotated

MAX_BYTES = 1 << 20  # of a bundle: a ConfigMap's maximum
_log = logging.getLogger(__name__)
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


class LastBundle:
    """Certificates of `file`. While it is missing or not PEM, those that were read last stay in use, as in the
    operator's own clients.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._pem = read_bundle(file) or ""

    def read(self) -> str:
        """PEM certificates, with a changed file's; empty if none were ever read."""
        pem = read_bundle(self._file)
        if pem is None:
            _log.warning("%s has no PEM certificate: workers get the CAs read before", self._file)
        self._pem = pem or self._pem
        return self._pem


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
