"""TLS settings for sources and stores."""

import os
import ssl
from functools import lru_cache

import certifi


@lru_cache(maxsize=1)
def system_tls() -> ssl.SSLContext:
    """TLS context with the CAs of SSL_CERT_FILE, else those of certifi."""
    return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())
