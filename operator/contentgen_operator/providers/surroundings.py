"""The network between the operator and the providers: proxies, and CAs of a company.

HTTP clients read the proxies from the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), the one of the Kubernetes API as
well. Workers have no such environment, because they fetch addresses that users give.
"""

import os
import ssl
from collections.abc import MutableMapping
from pathlib import Path

import httpx

_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_IN_THE_CLUSTER = ("localhost", "127.0.0.1", ".svc", ".cluster.local")


def trusted_cas(ca_file: Path | None = None) -> ssl.SSLContext:
    """A TLS context with the public CAs, or those of SSL_CERT_FILE, and with those of a PEM file. Raises OSError."""
    context = httpx.create_ssl_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def reach_cluster_directly(environ: MutableMapping[str, str] = os.environ) -> None:
    """Add the API server and names inside the cluster to NO_PROXY, where there is a proxy."""
    if not any(environ.get(name) or environ.get(name.lower()) for name in _PROXIES):
        return
    # A program that finds both spellings takes the lower case, so both get the same.
    given = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = [*given.split(","), *_IN_THE_CLUSTER, environ.get("KUBERNETES_SERVICE_HOST", "")]
    environ["no_proxy"] = environ["NO_PROXY"] = ",".join(dict.fromkeys(each.strip() for each in names if each.strip()))
