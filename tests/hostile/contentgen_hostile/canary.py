"""Canary: a recording that must never be opened, on disk and behind a loopback server, both of which record access."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from contentgen_hostile.bases import encoded
from contentgen_hostile.corpus import Canary


class WatchedAddresses:
    """The canary, and the accesses to it."""

    def __init__(self, folder: Path) -> None:
        content = encoded("ts-h264-aac")
        path = folder / "canary.ts"
        path.write_bytes(content)
        self.requests: list[str] = []
        watched = self

        class _CanaryHandler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                watched.requests.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _CanaryHandler)
        self.canary = Canary(path, f"http://127.0.0.1:{self.server.server_address[1]}/canary.ts")
        self.forget_accesses()

    def forget_accesses(self) -> None:
        """Forget all accesses. An old access time makes the kernel (relatime) record the next access."""
        os.utime(self.canary.path, (0, time.time()))
        self.requests.clear()

    def accesses(self) -> list[str]:
        """Accesses since the last `forget_accesses`: the file, or paths of requests."""
        return self.requests + ["the file"] * (self.canary.path.stat().st_atime > 0)


@contextmanager
def watched(folder: Path) -> Iterator[WatchedAddresses]:
    """Context manager of a running canary."""
    one = WatchedAddresses(folder)
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield one
    finally:
        one.server.shutdown()
        one.server.server_close()
        thread.join()
