"""Connections to a pod's port through the API server, like `kubectl port-forward`, without a local port.

Protocol `v4.channel.k8s.io` of the kubelet, for one port: binary websocket messages whose first byte is the channel,
0 for data and 1 for the text of an error. The first message of each channel has the port only.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from kubernetes.client import Configuration

Body = dict[str, Any]
_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_BINARY = 2  # opcode of a websocket frame


class MessageStream(Protocol):
    """Client of a websocket, as websocket-client has it."""

    def recv_data(self) -> tuple[int, bytes]:
        """Opcode and content of the next message."""

    def send_binary(self, payload: bytes) -> int:
        """Send a binary message."""

    def shutdown(self) -> None:
        """Close without waiting for the peer."""


@dataclass(frozen=True, slots=True)
class PodPort:
    """Port of a pod."""

    pod: str
    port: int


def pod_port(service: Body, pods: Sequence[Body]) -> PodPort | None:
    """First port of a Service, in a ready pod of its selector (both JSON). None: no such pod. Pure."""
    target = _first_port(service)
    found = (PodPort(_name(pod), port) for pod in pods if _is_ready(pod) and (port := _number(pod, target)))
    return next(found, None)


def _first_port(service: Body) -> int | str:
    port: Body = service["spec"]["ports"][0]
    target: int | str = port.get("targetPort") or port["port"]
    return target


def _name(pod: Body) -> str:
    return str(pod["metadata"]["name"])


def _is_ready(pod: Body) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _number(pod: Body, target: int | str) -> int | None:
    if isinstance(target, int):
        return target
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or ()]
    return next((int(port["containerPort"]) for port in ports if port.get("name") == target), None)


class _ReceivedBytes(io.RawIOBase):
    """Bytes of the data channel."""

    def __init__(self, messages: MessageStream) -> None:
        self._messages = messages
        self._opened: set[int] = set()
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read some bytes; 0 at the end. Raises ConnectionError with the text of the kubelet's error."""
        while not self._rest:
            opcode, message = self._messages.recv_data()
            if opcode != _BINARY or not message:
                return 0
            self._rest = memoryview(self._content(message[0], message[1:]))
        target = memoryview(buffer)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _content(self, channel: int, content: bytes) -> bytes:
        if channel not in self._opened:
            self._opened.add(channel)
            return b""
        if channel == _ERROR:
            raise ConnectionError(content.decode(errors="replace"))
        return content


class ForwardedSocket:
    """Forwarded port, with the methods of a socket that `http.client` calls; the context closes its connection."""

    def __init__(self, messages: MessageStream) -> None:
        self._messages = messages

    def __enter__(self) -> "ForwardedSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self._messages.shutdown()

    def sendall(self, data: bytes) -> None:
        """Send bytes."""
        self._messages.send_binary(bytes((_DATA,)) + data)

    def makefile(self, *_: object) -> io.BufferedReader:
        """Reader of the received bytes."""
        return io.BufferedReader(_ReceivedBytes(self._messages))

    def close(self) -> None:
        """Nothing: `http.client` closes a socket before it reads the reply from its file."""


def connect(url: str, headers: Mapping[str, str], settings: "Configuration", seconds: float) -> ForwardedSocket:
    """Open the `portforward` of a pod at an API server; `headers` authenticate, and impersonate.

    Not the Kubernetes client's own: it drops the header of `--as`, has no timeout, and loses the status of a refusal.
    Raises websocket.WebSocketException, also with a status, and OSError.
    """
    import websocket

    messages = websocket.WebSocket(sslopt=_tls_options(settings), skip_utf8_validation=True)
    messages.connect(
        "ws" + url.removeprefix("http"),
        header=dict(headers),
        subprotocols=[_PROTOCOL],
        timeout=seconds,
        redirect_limit=0,  # a redirect would get the credentials
        **_proxy_options(settings, url),
    )
    return ForwardedSocket(messages)


def _tls_options(settings: "Configuration") -> dict[str, Any]:
    import ssl

    checks = settings.verify_ssl
    given = {
        "cert_reqs": ssl.CERT_REQUIRED if checks else ssl.CERT_NONE,
        "check_hostname": checks and settings.assert_hostname is not False,
        "ca_certs": settings.ssl_ca_cert,
        "certfile": settings.cert_file,
        "keyfile": settings.key_file,
        "server_hostname": settings.tls_server_name,
    }
    return {name: value for name, value in given.items() if value is not None}


def _proxy_options(settings: "Configuration", url: str) -> dict[str, Any]:
    """HTTP proxy of the kubeconfig or the environment."""
    from kubernetes.stream.ws_client import websocket_proxycare

    options: dict[str, Any] = websocket_proxycare({}, settings, url, {}) if settings.proxy else {}
    return options
