"""Consecutive GETs of one URL over a connection that is kept alive.

The address guard checks every new connection, at each redirect. A kept connection is reused only for the address and
name it was checked for.
"""

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx

from contentgen_worker.download.address_guard import AddressGuard, CheckedUrl
from contentgen_worker.download.budget import DownloadBudget
from contentgen_worker.errors import NotAllowed, Unreachable, redacted
from contentgen_worker.network import WorkerNetwork

REDIRECTS = 5
_REDIRECT_CODES = (301, 302, 303, 307, 308)
_USABLE = (200, 206)
_TIMEOUT = httpx.Timeout(30, connect=10)
_HEADERS = {"User-Agent": "contentgen-worker", "Accept": "*/*", "Accept-Encoding": "identity"}


class Connection:
    """Keep-alive connection to one URL. `guard` None: a URL of our own store, unchecked and without redirects."""

    def __init__(self, url: str, guard: AddressGuard | None, budget: DownloadBudget, network: WorkerNetwork) -> None:
        self._url = url
        self._network = network
        self._guard = guard
        self._budget = budget
        self._client: httpx.Client | None = None
        self._target: CheckedUrl | None = None
        self._socket: socket.socket | None = None
        self._cancelled = False

    def get(self, headers: Mapping[str, str]) -> httpx.Response:
        """Response with its body still unread; the caller closes it. Raises NotAllowed or Unreachable."""
        if self._client and self._target:
            with suppress(Unreachable):
                response = self._send(self._target, headers)
                if response.status_code in _USABLE:
                    return response
            self.close()  # the target of a redirect may expire after minutes
        return self._follow_redirects(headers)

    def close(self) -> None:
        """Close the connection; the next `get` opens another."""
        if self._client:
            self._client.close()
        self._client = self._target = None

    def abort(self) -> None:
        """Abort the current request, from another thread."""
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(
                    self._socket, socket.SHUT_RDWR
                )  # the SSL socket's shutdown would wait for the peer

    def cancel(self) -> None:
        """Abort, and fail all further requests: after `abort` alone, `get` would reconnect."""
        self._cancelled = True
        self.abort()

    def _follow_redirects(self, headers: Mapping[str, str]) -> httpx.Response:
        if self._guard is None:
            return self._send(CheckedUrl(httpx.URL(self._url), ()), headers)
        address: str | httpx.URL = self._url
        for _ in range(REDIRECTS + 1):
            target = self._guard.check(address)
            response = self._send(target, headers)
            if response.status_code not in _REDIRECT_CODES:
                return response
            address = _redirect_target(target.url, response)
            response.close()
            self.close()  # one client per hop: a kept connection was verified for another name
        raise Unreachable(f"{redacted(self._url)}: more than {REDIRECTS} redirects", advice="use the file's own URL")

    def _send(self, target: CheckedUrl, headers: Mapping[str, str]) -> httpx.Response:
        """Response of the first address that answers; the next request uses that address."""
        if self._cancelled:
            raise Unreachable(f"{redacted(target.url)}: download cancelled")
        self._client = self._client or self._new_client(target.url)
        seconds = min(self._budget.bounds.answer_seconds, self._budget.seconds_left)
        error: Exception | None = None
        with _AnswerTimeout(self, seconds) as timeout:
            for address in target.addresses or (None,):
                self._target = target if address is None else replace(target, addresses=(address,))
                try:
                    return self._client.send(self._request(self._client, self._target, headers), stream=True)
                except httpx.TransportError as caught:
                    if timeout.expired:
                        text = f"{redacted(target.url)}: no response began in time"
                        raise Unreachable(text, transient=self._guard is None, advice="use a faster host") from None
                    error = caught
        raise unreachable(target.url, error)

    def _new_client(self, url: httpx.URL) -> httpx.Client:
        if self._guard is None:
            return self._network.store_client(_TIMEOUT)
        return self._network.source_client(url, _TIMEOUT)

    def _request(self, client: httpx.Client, target: CheckedUrl, headers: Mapping[str, str]) -> httpx.Request:
        """GET to the checked address; Host, SNI and certificate check use the URL's name."""
        pinned = target.url.copy_with(host=str(target.addresses[0])) if target.addresses else target.url
        return client.build_request(
            "GET",
            pinned,
            headers={**_HEADERS, **headers, "Host": target.url.netloc.decode("ascii")},
            extensions={"sni_hostname": target.url.raw_host.decode("ascii"), "trace": self._trace},
        )

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        """httpcore trace hook; remembers the socket for `abort`."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._cancelled:
                self.abort()


class _AnswerTimeout:
    """Timeout of the whole response head: httpx bounds each read only, so one byte a second would never time out."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self.expired = False
        self._connection = connection
        self._timer = threading.Timer(max(seconds, 0), self._expire)
        self._timer.daemon = True

    def __enter__(self) -> "_AnswerTimeout":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        self._connection.abort()


def _redirect_target(url: httpx.URL, response: httpx.Response) -> httpx.URL:
    location = response.headers.get("location", "")
    if not location:
        raise Unreachable(f"{redacted(url)}: HTTP {response.status_code} without a Location")
    try:
        return url.join(location)
    except (httpx.InvalidURL, ValueError):
        raise NotAllowed(f"{redacted(url)}: redirects to an invalid URL") from None


def unreachable(url: object, error: Exception | None) -> Unreachable:
    """Error of a failed connection."""
    detail = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    advice = "check that the file can be fetched from the internet"
    if isinstance(error, httpx.ProxyError):
        advice = "ask the administrator of the cluster whether its proxy allows this host"
    return Unreachable(f"{redacted(url)}: {detail}", transient=True, advice=advice)
