"""Network settings of the operator: proxies and private CAs.

HTTP clients, including the Kubernetes client, read the proxies from HTTPS_PROXY, HTTP_PROXY and NO_PROXY. Workers
have the proxy from their work order, because they resolve and check the addresses that users give.
"""

import logging
import os
import ssl
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any

import httpx

_log = logging.getLogger(__name__)
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
IN_THE_CLUSTER = ("localhost", "127.0.0.1", ".svc", ".cluster.local")


def trusted_cas(ca_file: Path | None = None) -> ssl.SSLContext:
    """TLS context of a client with the public CAs, or those of SSL_CERT_FILE, and those of a PEM file, which is read
    again when it changes. Raises OSError.
    """
    return httpx.create_ssl_context() if ca_file is None else _RenewedContext(ca_file)


class _RenewedContext(ssl.SSLContext):
    """TLS context that reloads its CAs from a file; each connection uses the newest context.

    If the file is missing or not PEM, the CAs that were read last stay trusted.
    """

    _file: Path
    _pem: bytes
    _newest: ssl.SSLContext
    _protocols: tuple[str, ...]

    def __new__(cls, file: Path) -> "_RenewedContext":
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made._file, made._protocols = file, ()
        made._pem, made._newest = file.read_bytes(), made._made()
        return made

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Set the protocols of this and all later contexts."""
        self._protocols = tuple(alpn_protocols)
        self._newest.set_alpn_protocols(self._protocols)

    def get_ca_certs(self, *args: Any, **options: Any) -> Any:
        """As ssl's."""
        return self._now().get_ca_certs(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """As ssl's."""
        return self._now().wrap_socket(*args, **options)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """As ssl's."""
        return self._now().wrap_bio(*args, **options)

    def _now(self) -> ssl.SSLContext:
        try:
            pem = self._file.read_bytes()
            if pem != self._pem:
                self._newest, self._pem = self._made(), pem
        except OSError as error:  # ssl.SSLError is one
            _log.warning("%s: the CAs read before stay in use: %s", self._file, error)
        return self._newest

    def _made(self) -> ssl.SSLContext:
        context = httpx.create_ssl_context()
        context.load_verify_locations(cafile=self._file)
        if self._protocols:
            context.set_alpn_protocols(list(self._protocols))
        return context


def reach_cluster_directly(environ: MutableMapping[str, str] = os.environ) -> None:
    """Add the API server and names inside the cluster to NO_PROXY, if a proxy is set."""
    if not any(environ.get(name) or environ.get(name.lower()) for name in _PROXIES):
        return
    # Programs that find both spellings use the lower case, so both get the same value.
    given = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = [*given.split(","), *IN_THE_CLUSTER, environ.get("KUBERNETES_SERVICE_HOST", "")]
    environ["no_proxy"] = environ["NO_PROXY"] = ",".join(dict.fromkeys(name.strip() for name in names if name.strip()))
