"""GETs of one URL, one after another, over a connection that is kept where the other side keeps it.

A stranger's URL passes the guard, at each hop of each request that needs a new way; a kept connection goes to the
address that was checked, and to no other name's.
"""

import os
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

import certifi
import httpx

from contentgen_worker.download.address_guard import AddressGuard, CheckedUrl
from contentgen_worker.download.budget import DownloadBudget
from contentgen_worker.errors import NotAllowed, Unreachable, shown

REDIRECTS = 5
_REDIRECT_CODES = (301, 302, 303, 307, 308)
_USABLE = (200, 206)
_TIMEOUT = httpx.Timeout(30, connect=10)
_HEADERS = {"User-Agent": "contentgen-worker", "Accept": "*/*", "Accept-Encoding": "identity"}


@lru_cache(maxsize=1)
def system_tls() -> ssl.SSLContext:
    """TLS checked against SSL_CERT_FILE, or the CAs that everybody trusts."""
    return ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())


class Connection:
    """One connection at a time. `guard` None: our own store's URL, which is taken as it is and redirects nowhere."""

    def __init__(self, url: str, guard: AddressGuard | None, meter: DownloadBudget) -> None:
        self._url = url
        self._guard = guard
        self._meter = meter
        self._client: httpx.Client | None = None
        self._target: CheckedUrl | None = None
        self._socket: socket.socket | None = None
        self._ended = False

    def get(self, headers: Mapping[str, str]) -> httpx.Response:
        """An answer whose body is still to be read; close it. Raises NotAllowed or Unreachable."""
        if self._client and self._target:
            with suppress(Unreachable):
                response = self._ask(self._target, headers)
                if response.status_code in _USABLE:
                    return response
            self.close()  # where a redirect led may be good for some minutes only
        return self._anew(headers)

    def close(self) -> None:
        """Let the connection go."""
        if self._client:
            self._client.close()
        self._client = self._target = None

    def shut(self) -> None:
        """End what is under way on the connection, from another thread."""
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # TLS's own would ask the other side

    def end(self) -> None:
        """Shut, and ask nothing more: to `get`, a connection that was shut is one that the other side closed."""
        self._ended = True
        self.shut()

    def _anew(self, headers: Mapping[str, str]) -> httpx.Response:
        if self._guard is None:
            return self._ask(CheckedUrl(httpx.URL(self._url), ()), headers)
        address: str | httpx.URL = self._url
        for _ in range(REDIRECTS + 1):
            target = self._guard.check(address)
            response = self._ask(target, headers)
            if response.status_code not in _REDIRECT_CODES:
                return response
            address = _next(target.url, response)
            response.close()
            self.close()  # a client of its own for each hop: a kept connection was verified for another name
        raise Unreachable(f"{shown(self._url)}: more than {REDIRECTS} redirects; use the file's own URL")

    def _ask(self, target: CheckedUrl, headers: Mapping[str, str]) -> httpx.Response:
        """Of the first address that answers; the next request goes to it again."""
        if self._ended:
            raise Unreachable(f"{shown(target.url)}: given up")
        self._client = self._client or httpx.Client(verify=system_tls(), trust_env=False, timeout=_TIMEOUT)
        seconds = min(self._meter.bounds.answer_seconds, self._meter.left)
        error: Exception | None = None
        with _Patience(self, seconds) as patience:
            for address in target.addresses or (None,):
                self._target = target if address is None else replace(target, addresses=(address,))
                try:
                    return self._client.send(self._request(self._client, self._target, headers), stream=True)
                except httpx.TransportError as failed:
                    if patience.over:
                        text = f"{shown(target.url)}: no answer began in time; use a faster host"
                        raise Unreachable(text, passing=self._guard is None) from None
                    error = failed
        raise transport(target.url, error)

    def _request(self, client: httpx.Client, target: CheckedUrl, headers: Mapping[str, str]) -> httpx.Request:
        """Name, certificate and Host stay those of the URL, whatever the address is."""
        pinned = target.url.copy_with(host=str(target.addresses[0])) if target.addresses else target.url
        return client.build_request(
            "GET",
            pinned,
            headers={**_HEADERS, **headers, "Host": target.url.netloc.decode("ascii")},
            extensions={"sni_hostname": target.url.raw_host.decode("ascii"), "trace": self._trace},
        )

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        """httpcore tells of each of its steps; of these we need the socket."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._ended:
                self.shut()


class _Patience:
    """Ends a connection whose answer has not begun in time: httpx bounds each read, and a byte a second passes all."""

    def __init__(self, lane: Connection, seconds: float) -> None:
        self.over = False
        self._lane = lane
        self._timer = threading.Timer(max(seconds, 0), self._end)
        self._timer.daemon = True

    def __enter__(self) -> "_Patience":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.over = True
        self._lane.shut()


def _next(url: httpx.URL, response: httpx.Response) -> httpx.URL:
    location = response.headers.get("location", "")
    if not location:
        raise Unreachable(f"{shown(url)}: HTTP {response.status_code} without a Location")
    try:
        return url.join(location)
    except (httpx.InvalidURL, ValueError):
        raise NotAllowed(f"{shown(url)}: redirects to something that is no URL") from None


def transport(url: object, error: Exception | None) -> Unreachable:
    """For a connection that was not made, or not kept."""
    detail = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Unreachable(f"{shown(url)}: {detail}; check that the file can be fetched from the internet", passing=True)
