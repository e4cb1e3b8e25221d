"""Remote S3 server: versitygw behind the delaying proxy `far_way`.

Also a worker API with one order, which signs URLs, so that `contentgen-worker prepare` runs as it does in a pod.
"""

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3

from contentgen_bench.processes import running, until
from contentgen_contract.names import Kind, Stage
from contentgen_contract.records.ownership import Owner
from contentgen_contract.worker.orders import Download, Outcome, UploadGrants, UploadRequest, WorkOrder
from contentgen_operator.stores.s3 import Storage
from contentgen_sandbox.stores import minimal_environment
from contentgen_sandbox.testing import free_port, s3_server

_LIFETIME = timedelta(hours=1)
_BUCKET = "media"


@dataclass(frozen=True)
class FarStore:
    """Endpoints of the store: `near` is direct, for the benchmark itself; `far` is the delaying proxy."""

    near: str
    far: str
    bucket: str
    storage: Storage  # signs URLs of the far endpoint

    def put(self, key: str, path: Path) -> None:
        """Upload a file through the near endpoint."""
        boto3.client("s3", endpoint_url=self.near, region_name="us-east-1").upload_file(str(path), self.bucket, key)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Sizes of the objects under a prefix in bytes, by key without the prefix."""
        client = boto3.client("s3", endpoint_url=self.near, region_name="us-east-1")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return {
            content["Key"].removeprefix(prefix): content["Size"]
            for page in pages
            for content in page.get("Contents", ())
        }


@contextmanager
def far_store(folder: Path) -> Iterator[FarStore]:
    """Start the store and its proxy. Sets AWS_* in the environment, from which the usual way takes its keys."""
    with s3_server(folder / "s3") as server:
        os.environ |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
        port = free_port()
        near = server.endpoint.rpartition(":")[2]
        # A separate process keeps the proxy's CPU time and its use of the GIL out of the benchmark.
        proxy = [sys.executable, "-m", "contentgen_bench.media.far_way", str(port), near]
        with running(proxy, minimal_environment(), folder / "far_way.log"):
            until("the proxy listens", lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
            _storage(server.endpoint).ensure_bucket()
            far = f"http://127.0.0.1:{port}"
            yield FarStore(server.endpoint, far, _BUCKET, _storage(far))


def _storage(endpoint: str) -> Storage:
    return Storage(bucket=_BUCKET, region="us-east-1", endpoint=endpoint, public_endpoint=None)


class OneWorkerApi:
    """Worker API with one order, over plain HTTP on loopback. A context manager."""

    def __init__(self, store: FarStore, source: str, prefix: str, spec: dict[str, Any]) -> None:
        self._store = store
        self._prefix = prefix
        self._owner = Owner(folders=frozenset({prefix}), keys=frozenset({source}))
        self._order = WorkOrder(
            job_id="bench",
            kind=Kind.LORA_TRAINING,
            stage=Stage.PREPARE,
            version=1,
            attempt=1,
            user_id="bench",
            spec=spec,
            source=Download(url=store.storage.worker_get(self._owner, source, _LIFETIME), trusted=True),
            outcome_url=store.storage.worker_put(self._owner, f"{prefix}outcome.json", _LIFETIME),
        )
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "OneWorkerApi":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Base URL, the value of CONTENTGEN_WORKER_API_URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def outcome(self) -> Outcome:
        """Outcome that the worker stored."""
        client = boto3.client("s3", endpoint_url=self._store.near, region_name="us-east-1")
        body = client.get_object(Bucket=self._store.bucket, Key=f"{self._prefix}outcome.json")["Body"].read()
        return Outcome.model_validate_json(body)

    def _answer(self, path: str, body: bytes) -> bytes:
        if path == "/v1/order":
            return self._order.model_dump_json(by_alias=True).encode()
        if path == "/v1/uploads":
            offers = UploadRequest.model_validate_json(body).files
            grants = tuple(self._store.storage.grant(self._owner, self._prefix, offer, _LIFETIME) for offer in offers)
            return UploadGrants(grants=grants).model_dump_json(by_alias=True).encode()
        return json.dumps({}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        worker_api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Discard the access log."""

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = worker_api._answer(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_POST = do_GET  # noqa: N815 - name given by http.server

        return Handler
