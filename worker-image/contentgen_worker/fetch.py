"""Downloads to a file: the operator's own URLs plainly, everybody else's through the guard.

Bytes, time and rate are bounded; what the file is, is for whoever opens it.
"""

import errno
import hashlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import certifi
import httpx

from contentgen_contract.orders import Download
from contentgen_worker.errors import (
    ChecksumMismatch,
    Empty,
    FetchError,
    NotAllowed,
    Retryable,
    TooLarge,
    Unreachable,
    shown,
)
from contentgen_worker.guard import Guard, Target
from contentgen_worker.retry import SOURCE, STORE, Patience

REDIRECTS = 5
_REDIRECT_CODES = (301, 302, 303, 307, 308)
_PASSING_CODES = (408, 425, 429)
_TIMEOUT = httpx.Timeout(30, connect=10)
_HEADERS = {"User-Agent": "contentgen-worker", "Accept": "*/*", "Accept-Encoding": "identity"}
Watch = Callable[[float], None]


@dataclass(frozen=True)
class Bounds:
    """What one download may cost."""

    max_bytes: int
    seconds: float
    bytes_per_second: float = 16 * 1024  # a slower sender is given up ...
    rate_window: float = 30.0  # ... after being slower for this many seconds
    answer_seconds: float = 60.0  # until an answer begins


@dataclass(frozen=True)
class Fetched:
    """A file that came down."""

    path: Path
    size_bytes: int
    sha256: str


@lru_cache(maxsize=1)
def system_tls() -> ssl.SSLContext:
    """TLS checked against SSL_CERT_FILE, or the CAs that everybody trusts."""
    return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())


def no_watch(_: float) -> None:
    """For downloads that nobody watches."""


@dataclass(frozen=True)
class _Sink:
    """Where one download goes, and what it may cost; `deadline` counts all its tries."""

    path: Path
    bounds: Bounds
    deadline: float
    watch: Watch


class Fetcher:
    """Fetches files into the scratch folder."""

    def __init__(self, guard: Guard, *, source: Patience = SOURCE, store: Patience = STORE) -> None:
        self._guard = guard
        self._source = source
        self._store = store

    def fetch(self, download: Download, to: Path, bounds: Bounds, watch: Watch = no_watch) -> Fetched:
        """The file at a URL. Raises a FetchError, or Retryable where our own store is away."""
        sink = _Sink(to, bounds, time.monotonic() + bounds.seconds, watch)
        if download.trusted:
            fetched = self._trusted(download.url, sink)
        else:
            action = _Untrusted(self._guard, download.url, sink)
            fetched = self._source.run(action, _passing)
        return _checked(fetched, download)

    def _trusted(self, url: str, sink: _Sink) -> Fetched:
        try:
            return self._store.run(lambda: _plain(url, sink), _passing)
        except Unreachable as error:
            if error.passing:
                raise Retryable(f"{error}; the store is away") from None
            raise


@dataclass(frozen=True)
class _Untrusted:
    guard: Guard
    url: str
    sink: _Sink

    def __call__(self) -> Fetched:
        address: str | httpx.URL = self.url
        for _ in range(REDIRECTS + 1):
            target = self.guard.check(address)
            with _pinned(target, self.sink) as response:
                if response.status_code in _REDIRECT_CODES:
                    address = _next(target.url, response)
                    continue
                _accept(response, target.url)
                return _save(response, target.url, self.sink)
        raise Unreachable(f"{shown(self.url)}: more than {REDIRECTS} redirects; use the file's own URL")


def _next(url: httpx.URL, response: httpx.Response) -> httpx.URL:
    location = response.headers.get("location", "")
    if not location:
        raise Unreachable(f"{shown(url)}: HTTP {response.status_code} without a Location")
    try:
        return url.join(location)
    except (httpx.InvalidURL, ValueError) as error:
        raise NotAllowed(f"{shown(url)}: redirects to something that is no URL ({error})") from None


class _Patience:
    """Ends a connection whose answer has not begun in time: httpx bounds each read, and a byte a second passes all."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(max(seconds, 0), self._end)

    def __enter__(self) -> "_Patience":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """httpcore tells of each of its steps; of these we need the socket."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")

    def _end(self) -> None:
        self.over = True
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # TLS's own would ask the other side


@contextmanager
def _pinned(target: Target, sink: _Sink) -> Iterator[httpx.Response]:
    """A GET to one of the checked addresses; name, certificate and Host stay those of the URL.

    A client of its own for each hop: a kept connection was verified for another name.
    """
    with httpx.Client(verify=system_tls(), trust_env=False, timeout=_TIMEOUT) as client:
        seconds = min(sink.bounds.answer_seconds, sink.deadline - time.monotonic())
        with _Patience(seconds) as patience:
            response = _first_that_answers(client, target, patience)
        try:
            yield response
        finally:
            response.close()


def _first_that_answers(client: httpx.Client, target: Target, patience: _Patience) -> httpx.Response:
    error: Exception | None = None
    for address in target.addresses:
        request = client.build_request(
            "GET",
            target.url.copy_with(host=str(address)),
            headers={**_HEADERS, "Host": target.url.netloc.decode("ascii")},
            extensions={"sni_hostname": target.url.raw_host.decode("ascii"), "trace": patience.trace},
        )
        try:
            return client.send(request, stream=True)
        except httpx.TransportError as failed:
            if patience.over:
                raise Unreachable(f"{shown(target.url)}: no answer began in time; use a faster host") from None
            error = failed
    raise _transport(target.url, error)


def _plain(url: str, sink: _Sink) -> Fetched:
    try:
        with (
            httpx.Client(verify=system_tls(), trust_env=False, timeout=_TIMEOUT) as client,
            client.stream("GET", url, headers=_HEADERS) as response,
        ):
            if response.status_code == 403 and b"xpired" in _start(response):  # S3's "Request has expired"
                raise Retryable(f"{shown(url)}: the signed URL has expired; a new attempt gets a new one")
            _accept(response, response.url)
            return _save(response, response.url, sink)
    except httpx.TransportError as error:
        raise _transport(url, error) from None


def _transport(url: object, error: Exception | None) -> Unreachable:
    detail = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Unreachable(f"{shown(url)}: {detail}; check that the file can be fetched from the internet", passing=True)


def _passing(error: Exception) -> bool:
    return isinstance(error, FetchError) and error.passing


def _accept(response: httpx.Response, url: httpx.URL) -> None:
    code = response.status_code
    if code != 200:
        passing = code >= 500 or code in _PASSING_CODES
        raise Unreachable(
            f"{shown(url)}: HTTP {code}, expected 200; check the URL and who may read it", passing=passing
        )
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Unreachable(f"{shown(url)}: sent compressed although not asked to; serve the file as it is")


def _start(response: httpx.Response) -> bytes:
    try:
        return next(response.iter_raw(4096), b"")
    except httpx.TransportError:
        return b""


def _save(response: httpx.Response, url: httpx.URL, sink: _Sink) -> Fetched:
    expected = int(response.headers.get("content-length") or 0)
    meter = _Meter(url, sink.bounds, sink.deadline)
    meter.announced(expected)
    digest = hashlib.sha256()
    try:
        with sink.path.open("wb") as file:
            for chunk in response.iter_raw():
                meter.count(len(chunk))
                digest.update(chunk)
                file.write(chunk)
                if expected:
                    sink.watch(meter.total / expected)
    except httpx.TransportError as error:
        raise Unreachable(f"{shown(url)}: broke off after {meter.total} bytes ({error})", passing=True) from None
    except OSError as error:
        raise _disk(error, sink.path) from None
    if not meter.total:
        raise Empty(f"{shown(url)}: 0 bytes; check that the upload of the file was finished")
    return Fetched(sink.path, meter.total, digest.hexdigest())


def _disk(error: OSError, path: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Retryable(f"no space left for {path.name} in the scratch folder; give the worker a larger volume")
    return error


class _Meter:
    """Bytes, time and rate of one download."""

    def __init__(self, url: httpx.URL, bounds: Bounds, deadline: float) -> None:
        self.total = 0
        self._url = shown(url)
        self._bounds = bounds
        self._deadline = deadline
        self._window_start = time.monotonic()
        self._window_bytes = 0

    def announced(self, size: int) -> None:
        if size > self._bounds.max_bytes:
            raise TooLarge(f"{self._url}: {size} bytes, at most {self._bounds.max_bytes}; use a smaller file")

    def count(self, size: int) -> None:
        self.total += size
        self._window_bytes += size
        if self.total > self._bounds.max_bytes:
            raise TooLarge(f"{self._url}: more than {self._bounds.max_bytes} bytes; use a smaller file")
        now = time.monotonic()
        if now > self._deadline:
            raise Unreachable(f"{self._url}: not done within {self._bounds.seconds:g} s; use a faster host")
        if now - self._window_start >= self._bounds.rate_window:
            self._judge(now)

    def _judge(self, now: float) -> None:
        rate = self._window_bytes / (now - self._window_start)
        if rate < self._bounds.bytes_per_second:
            raise Unreachable(
                f"{self._url}: {rate:.0f} bytes/s, at least {self._bounds.bytes_per_second:.0f}; use a faster host"
            )
        self._window_start, self._window_bytes = now, 0


def _checked(fetched: Fetched, download: Download) -> Fetched:
    if download.sha256 and fetched.sha256 != download.sha256:
        raise ChecksumMismatch(
            f"{shown(download.url)}: sha256 is {fetched.sha256}, expected {download.sha256}; the file was changed or "
            "the sha256 is another file's"
        )
    return fetched
