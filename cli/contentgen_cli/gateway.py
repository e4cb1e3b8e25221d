"""Client of the gateway's HTTP API, for data that Kubernetes does not have.

The gateway is at a URL, or behind a Service that is reached through the API server with the user's kubeconfig. It gets
a token for its own audience, never the kubeconfig's.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from contentgen_cli.errors import ApiUnreachable, CliError, NotPermitted
from contentgen_contract.names import GATEWAY_AUDIENCE

if TYPE_CHECKING:
    from contentgen_cli.cluster import ClusterClient

Exchange = Callable[[str, str, Mapping[str, str]], tuple[int, bytes]]
"""Request with method, path and headers; status and content of its reply. Raises CliError."""
_SECONDS = 30.0


def is_url(address: str) -> bool:
    """Whether an address is a URL; otherwise it is NAMESPACE/SERVICE. Raises CliError for neither."""
    if "://" in address and urlsplit(address).scheme in ("http", "https"):
        return True
    namespace, _, service = address.partition("/")
    if namespace and service and not {"/", ":"} & {*namespace, *service}:
        return False
    raise CliError(
        f"--gateway {address!r}: expected a URL such as http://localhost:5000, or NAMESPACE/SERVICE, such as "
        "contentgen/contentgen-gateway"
    )


@dataclass(frozen=True, slots=True)
class GatewayClient:
    """The gateway at an address, as the owner of a token."""

    exchange: Exchange
    token: str

    def request(self, method: str, path: str) -> dict[str, Any]:
        """JSON object of a reply. Raises CliError."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        return _read(*self.exchange(method, path, headers))


def open_gateway(
    address: str, token: str | None, cluster: "Callable[[], ClusterClient]", namespace: str | None = None
) -> GatewayClient:
    """Client of the gateway at a URL or NAMESPACE/SERVICE.

    Without a token the API server makes one. `namespace` is for the advice. Raises CliError.
    """
    by_url = is_url(address)
    if by_url and token:
        return GatewayClient(_at_url(address), token)
    connected = cluster()
    if not (access := token or connected.gateway_token()):
        raise CliError(
            "the gateway requires a token; give one with --token or CONTENTGEN_TOKEN: kubectl create token default "
            f"--namespace {namespace or 'NAMESPACE'} --audience {GATEWAY_AUDIENCE}"
        )
    return GatewayClient(_at_url(address) if by_url else _behind_service(address, connected), access)


def _at_url(address: str) -> Exchange:
    def exchange(method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        import urllib3
        from urllib3.exceptions import HTTPError

        try:
            with urllib3.PoolManager(retries=False, timeout=_SECONDS) as pool:
                reply = pool.request(method, address.rstrip("/") + path, headers=headers, redirect=False)
        except (HTTPError, UnicodeError) as error:
            raise ApiUnreachable(
                f"the gateway at {address.partition('?')[0]} does not respond: {type(error).__name__}; without "
                "--gateway and CONTENTGEN_GATEWAY it is reached through the API server"
            ) from error
        return reply.status, reply.data

    return exchange


def _behind_service(address: str, cluster: "ClusterClient") -> Exchange:
    namespace, _, service = address.partition("/")
    place = cluster.at(namespace, "request the permission, or give the gateway's URL with --gateway")

    def exchange(method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        from http.client import HTTPConnection, HTTPException

        from websocket import WebSocketException

        connection = HTTPConnection(service)
        connection.auto_open = 0  # never a connection by this name
        try:
            with place.forward(service) as connection.sock:
                connection.request(method, path, headers={**headers, "Connection": "close"})
                reply = connection.getresponse()
                return reply.status, reply.read()
        except (HTTPException, WebSocketException, OSError) as error:
            raise ApiUnreachable(f"the gateway behind service {address} does not respond: {error}") from error

    return exchange


def _read(status: int, content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if status == 403 and isinstance(body, dict) and isinstance(body.get("detail"), str):
        raise NotPermitted(f"permission denied: {ascii(body['detail'])[1:-1][:300]}")
    if status in (401, 403):
        raise NotPermitted(f"the gateway rejects the token ({status}): it must have the audience {GATEWAY_AUDIENCE}")
    if status not in (200, 202) or not isinstance(body, dict):
        raise CliError(f"the gateway returned {status}; it may be older than this plugin")
    return body
