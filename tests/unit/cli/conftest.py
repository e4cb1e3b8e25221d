"""HTTP servers and kubeconfigs for the plugin."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ServeHttp = Callable[[type[BaseHTTPRequestHandler]], str]
"""Start of a server with a handler, until the test ends; returns its URL."""
WriteKubeconfig = Callable[[Path, str], Path]
"""Kubeconfig at a path, for an API server's URL; returns the path."""


@pytest.fixture
def serve() -> Iterator[ServeHttp]:
    with ExitStack() as stack:

        def start(handler: type[BaseHTTPRequestHandler]) -> str:
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield start


@pytest.fixture
def write_kubeconfig() -> WriteKubeconfig:
    def write(path: Path, server: str) -> Path:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "the cluster's, not for the gateway"}}],
            "contexts": [
                {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "demo"}},
                {"name": "there", "context": {"cluster": "c", "user": "u"}},
            ],
        }
        path.write_text(json.dumps(config))
        return path

    return write


@pytest.fixture
def use_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_kubeconfig: WriteKubeconfig
) -> Callable[[str], None]:
    """Kubeconfig of the environment, for an API server's URL."""

    def use(server: str) -> None:
        path = str(write_kubeconfig(tmp_path / "kubeconfig", server))
        monkeypatch.setenv("KUBECONFIG", path)
        # The client reads KUBECONFIG once, at its import.
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", path)

    return use
