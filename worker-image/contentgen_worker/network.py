"""Network of a worker, from its work order: accepted CAs, and the company's proxy.

A source's name is resolved and checked here, and the proxy is asked for the checked address (CONNECT IP:port); TLS
verifies the name. So a proxy changes nothing about which addresses are reached. httpx would ask the proxy for the name.
"""

import os
import ssl
from collections.abc import Iterable
from time import monotonic
from typing import Any

import certifi
import h11
import httpcore
import httpx

from contentgen_contract.worker.orders import EgressProxy, WorkOrder
from contentgen_worker.errors import NotAllowed, redacted

_HEAD_BYTES, _PART_BYTES = 16_384, 2048  # of the proxy's answer
_CONNECT_SECONDS = 10.0  # to the proxy, with its answer


class WorkerNetwork:
    """HTTP clients of a worker. `proxy` None: all connections are direct."""

    def __init__(self, ca_certificates: str = "", proxy: EgressProxy | None = None) -> None:
        """`ca_certificates`: PEM of CAs that are accepted besides those of SSL_CERT_FILE, or else the public ones."""
        self._tls = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or certifi.where())
        if ca_certificates:
            self._tls.load_verify_locations(cadata=ca_certificates)
        self._proxy = None if proxy is None or "*" in proxy.exceptions else proxy

    @classmethod
    def of_order(cls, order: WorkOrder) -> "WorkerNetwork":
        """The network that a work order describes."""
        return cls(order.ca_certificates, order.proxy)

    def resolved_by_proxy(self, host: str) -> bool:
        """True if this host's name is given to the proxy unresolved."""
        return self._proxy is not None and self._proxy.resolves_names and not _is_exempt(host, self._proxy.exceptions)

    def source_client(self, url: httpx.URL, timeout: httpx.Timeout) -> httpx.Client:
        """Client for one host that a user or a provider named. Raises NotAllowed for plain http through the proxy."""
        # raw_host as in the guard: httpx's `host` of an internationalized name is another text.
        if self._proxy is None or _is_exempt(url.raw_host.decode("ascii"), self._proxy.exceptions):
            return httpx.Client(verify=self._tls, trust_env=False, timeout=timeout)
        if url.scheme != "https":
            raise NotAllowed(f"{redacted(url)}: plain http is not fetched through the proxy", advice="use https")
        transport = _TunnelTransport(self._tls, self._proxy)
        return httpx.Client(transport=transport, trust_env=False, timeout=timeout)

    def store_client(self, timeout: httpx.Timeout, limits: httpx.Limits | None = None) -> httpx.Client:
        """Client for signed URLs of the installation's own S3: direct, unless the proxy is named for it."""
        limits = limits or httpx.Limits()
        direct = httpx.HTTPTransport(verify=self._tls, trust_env=False, limits=limits)
        if self._proxy is None or not self._proxy.stores:
            return httpx.Client(transport=direct, trust_env=False, timeout=timeout)
        proxied = httpx.HTTPTransport(verify=self._tls, trust_env=False, limits=limits, proxy=self._proxy.url)
        transport = _UnlessExempt(direct, proxied, self._proxy.exceptions)
        return httpx.Client(transport=transport, trust_env=False, timeout=timeout)


def _is_exempt(host: str, exceptions: Iterable[str]) -> bool:
    """True for an exception's host: the same address, or the same name or a part of it, in any case."""
    name = host.strip("[]").rstrip(".").lower()
    return any(name == each or name.endswith(f".{each}") for each in map(_plain, exceptions))


def _plain(exception: str) -> str:
    return exception.strip().strip("[]").strip(".").lower()


class _UnlessExempt(httpx.BaseTransport):
    """Requests through a proxy, except to exempt hosts. httpx's own mounts raise for an exception such as host:443."""

    def __init__(self, direct: httpx.BaseTransport, proxied: httpx.BaseTransport, exceptions: Iterable[str]) -> None:
        self._direct = direct
        self._proxied = proxied
        self._exceptions = tuple(exceptions)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx's."""
        exempt = _is_exempt(request.url.raw_host.decode("ascii"), self._exceptions)
        return (self._direct if exempt else self._proxied).handle_request(request)

    def close(self) -> None:
        """See httpx's."""
        self._direct.close()
        self._proxied.close()


class _TunnelTransport(httpx.HTTPTransport):
    """HTTPS through CONNECT requests for exactly the host of the URL, which is an address; SNI is the request's."""

    def __init__(self, tls: ssl.SSLContext, proxy: EgressProxy) -> None:
        super().__init__(verify=tls, trust_env=False)
        # httpx has no option for it, and its own proxy support verifies the certificate for the URL's host.
        self._pool = httpcore.ConnectionPool(ssl_context=tls, network_backend=_TunnelBackend(httpx.URL(proxy.url)))


class _TunnelBackend(httpcore.NetworkBackend):
    """Opens TCP streams through a proxy."""

    def __init__(self, proxy: httpx.URL) -> None:
        self._proxy = proxy
        self._direct = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """See httpcore's. Raises ConnectError, ConnectTimeout or ProxyError."""
        deadline = monotonic() + (_CONNECT_SECONDS if timeout is None else timeout)
        near = self._proxy.host, self._proxy.port or 80
        stream = self._direct.connect_tcp(*near, timeout, local_address, socket_options)
        try:
            _request_tunnel(stream, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", deadline)
        except BaseException:
            stream.close()
            raise
        return stream


def _left(deadline: float) -> float:
    """Seconds until the deadline. Raises ConnectTimeout after it: a slow proxy may send a byte at a time."""
    if (seconds := deadline - monotonic()) <= 0:
        raise httpcore.ConnectTimeout("the proxy has not answered in time")
    return seconds


def _request_tunnel(stream: httpcore.NetworkStream, target: str, deadline: float) -> None:
    """Send a CONNECT request and read its answer. Raises ProxyError for another answer than 2xx."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
    request = h11.Request(method="CONNECT", target=target, headers=[("Host", target)])
    stream.write(connection.send(request) or b"", _left(deadline))
    stream.write(connection.send(h11.EndOfMessage()) or b"", _left(deadline))
    try:
        status = _status(connection, stream, deadline)
    except h11.RemoteProtocolError as error:
        raise httpcore.ProxyError(f"the proxy's answer to CONNECT {target} is not HTTP: {error}") from None
    if not 200 <= status < 300:
        raise httpcore.ProxyError(f"the proxy answered {status} to CONNECT {target}")
    if connection.trailing_data[0]:
        raise httpcore.ProxyError(f"the proxy sent data after its answer to CONNECT {target}")


def _status(connection: h11.Connection, stream: httpcore.NetworkStream, deadline: float) -> int:
    """Status of the proxy's answer. Raises h11's error for one that is not HTTP, or ProxyError without one."""
    while not isinstance(event := connection.next_event(), h11.Response):
        if event is h11.NEED_DATA:
            received = stream.read(_PART_BYTES, _left(deadline))
            if not received:
                raise httpcore.ProxyError("the proxy closed the connection without an answer")
            connection.receive_data(received)
        elif not isinstance(event, h11.InformationalResponse):
            raise httpcore.ProxyError("the proxy has answered without a status")
    return event.status_code
