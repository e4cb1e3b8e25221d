"""uvicorn inside our event loop: the desk (HTTPS) and the health endpoint (HTTP)."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Response

from contentgen_operator.desk_tls import DeskCertificate

# Our apps have nothing to do at start and end; waiting for it is logged as an error when the operator stops.
_QUIET: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off"}


class Server(uvicorn.Server):
    """A server that leaves the process's signals to `__main__`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do not."""
        yield


def plain_server(app: FastAPI, port: int) -> Server:
    """An HTTP server."""
    return Server(uvicorn.Config(app, host="0.0.0.0", port=port, **_QUIET))  # noqa: S104 - a pod's port


def tls_server(app: FastAPI, port: int, certificate: DeskCertificate) -> Server:
    """An HTTPS server; Python's ssl reads certificates from files only, so they exist for a moment."""
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
        chain.write_bytes(certificate.certificate)
        key.touch(mode=0o600)
        key.write_bytes(certificate.key)
        config = uvicorn.Config(
            app,
            host="0.0.0.0",  # noqa: S104 - a pod's port
            port=port,
            **_QUIET,
            ssl_certfile=str(chain),
            ssl_keyfile=str(key),
            timeout_keep_alive=30,
            limit_concurrency=1000,
        )
        config.load()
    return Server(config)


def health_app(alive: Callable[[], bool]) -> FastAPI:
    """GET /healthz"""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok" if alive() else "not ready", 200 if alive() else 503, media_type="text/plain")

    return app
