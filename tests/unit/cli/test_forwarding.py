"""The gateway behind a Service: reached by a port-forward through the API server, with the rights of the kubeconfig."""

import asyncio
import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from kubernetes.client import Configuration

from contentgen_cli import __main__, forwarding
from contentgen_cli.errors import CliError
from contentgen_cli.gateway import is_url
from contentgen_operator.worker_api.certificate_authority import issue, new_authority

ORPHAN = {"namespace": "demo", "kind": "ImageGeneration", "name": "avatar", "advice": "x" * 100_000}
SERVICES = "/api/v1/namespaces/contentgen/services/contentgen-gateway"
PODS = "/api/v1/namespaces/contentgen/pods"
CLUSTER_TOKEN = "Bearer the cluster's, not for the gateway"
LABELS = {"app.kubernetes.io/name": "contentgen", "app.kubernetes.io/component": "gateway"}


def pod(name: str, *, ready: bool = True, port: str = "http", **meta: Any) -> dict[str, Any]:
    ports = [{"name": "metrics", "containerPort": 8001}, {"name": port, "containerPort": 8000}]
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "metadata": {"name": name, **meta}, "spec": {"containers": [{"ports": ports}]},
        "status": {"conditions": conditions},
    }  # fmt: skip


class Cluster:
    """API server, and a gateway that only its port-forward reaches."""

    def __init__(self) -> None:
        self.service: Any = {"spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": "http"}]}}
        self.pods = [pod("starting", ready=False), pod("gateway-1")]
        self.refusal: int | None = None  # status of the port-forward
        self.cut: int | None = None  # bytes of the gateway's reply before the connection ends
        self.error = ""  # of the kubelet, such as a refused connection
        self.asked: list[tuple[str, str, str | None]] = []  # path, Authorization, Impersonate-User
        self.at_gateway: list[tuple[str, dict[str, str]]] = []

    async def api(self, request: web.Request) -> web.StreamResponse:
        headers = request.headers
        self.asked.append((request.path_qs, headers.get("Authorization", ""), headers.get("Impersonate-User")))
        if request.path == SERVICES and self.service is not None:
            return web.json_response(self.service)
        if request.path == PODS:
            assert request.query["labelSelector"] == ",".join(f"{key}={value}" for key, value in LABELS.items())
            return web.json_response({"items": self.pods})
        if request.path.endswith("/serviceaccounts/default/token"):
            return web.json_response({"status": {"token": "made"}}, status=201)
        if request.path == f"{PODS}/gateway-1/portforward":
            if self.refusal is None:
                return await self.forward(request)
            elsewhere = {"Location": f"ws://{request.host}/elsewhere"}
            return web.json_response({"message": "no pods/portforward"}, status=self.refusal, headers=elsewhere)
        return web.json_response({"message": "not found"}, status=404)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        port = int(request.query["ports"]).to_bytes(2, "little")
        messages = web.WebSocketResponse(protocols=["v4.channel.k8s.io"])
        await messages.prepare(request)
        assert messages.ws_protocol == "v4.channel.k8s.io"
        await messages.send_bytes(b"\x00" + port)
        await messages.send_bytes(b"\x01" + port)
        if self.error:
            await messages.send_bytes(b"\x01" + self.error.encode())
            return messages
        sent = b""
        while b"\r\n\r\n" not in sent:
            message = await messages.receive()
            assert (message.type, message.data[0]) == (WSMsgType.BINARY, 0)
            sent += message.data[1:]
        reply = self.gateway(sent.decode())[: self.cut]
        for start in range(0, len(reply), 32_768):
            await messages.send_bytes(b"\x00" + reply[start : start + 32_768])
        await messages.close()
        return messages

    def gateway(self, sent: str) -> bytes:
        first, *lines = sent.rstrip().split("\r\n")
        self.at_gateway.append((first, dict(line.split(": ", 1) for line in lines)))
        body = json.dumps({"orphans": [ORPHAN], "nextCursor": None}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body


@contextmanager
def serving(cluster: Cluster, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Host and port of the API server."""
    started, ended, loop, ports = threading.Event(), asyncio.Event(), asyncio.new_event_loop(), list[int]()

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", cluster.api)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        ports.append(runner.addresses[0][1])
        started.set()
        await ended.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield f"127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


@pytest.fixture
def cluster(use_cluster: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster()
    for name in ("CONTENTGEN_GATEWAY", "CONTENTGEN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serving(made) as address:
        use_cluster(f"http://{address}")
        yield made


@pytest.fixture
def run(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def command(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["kubectl-contentgen", "orphans", "-o", "json", *words])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        return int(ended.value.code or 0)

    return command


def test_without_url_and_token_the_kubeconfig_is_enough(
    cluster: Cluster, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    assert json.loads(capsys.readouterr().out) == {"orphans": [ORPHAN]}
    assert f"{PODS}/gateway-1/portforward?ports=8000" in [path for path, *_ in cluster.asked]
    assert {(access, user) for _, access, user in cluster.asked} == {(CLUSTER_TOKEN, None)}
    [(first, headers)] = cluster.at_gateway
    assert first == "GET /api/orphans?namespace=demo HTTP/1.1"
    assert headers["Authorization"] == "Bearer made", "never the kubeconfig's"
    assert headers["Host"] == "contentgen-gateway"


def test_an_impersonated_user_needs_the_rights_too(cluster: Cluster, run: Callable[..., int]) -> None:
    assert run("--as", "jane") == 0
    assert {user for *_, user in cluster.asked} == {"jane"}


def test_another_release(cluster: Cluster, run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--gateway", "apps/media-gateway", "--token", "given") == 1
    assert "service media-gateway was not found in namespace 'apps'" in capsys.readouterr().err
    assert [path for path, *_ in cluster.asked] == ["/api/v1/namespaces/apps/services/media-gateway"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"service": None}, "service contentgen-gateway was not found in namespace 'contentgen'"),
        ({"pods": []}, "service contentgen-gateway has no ready pod in namespace 'contentgen'"),
        ({"service": {"spec": {"ports": [{"port": 80}]}}}, "has no ready pod"),
        ({"error": "dial tcp4 127.0.0.1:8000: connect: connection refused \x1b[31m"}, "connection refused \\x1b[31m"),
        ({"cut": 0}, "the gateway behind service contentgen/contentgen-gateway does not respond"),
        ({"cut": 1000}, "the gateway behind service contentgen/contentgen-gateway does not respond"),
    ],
)
def test_a_gateway_that_is_not_reached(
    cluster: Cluster,
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    *,
    change: dict[str, Any],
    told: str,
) -> None:
    vars(cluster).update(change)
    assert run() == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (403, "no pods/portforward; request the permission, or give the gateway's URL with --gateway"),
        (401, "the cluster rejects your credentials"),
        (500, "pod gateway-1: the API server returned 500 no pods/portforward"),
        (307, "the port-forward to pod gateway-1 failed"),
    ],
)
def test_a_refused_forward(
    cluster: Cluster, run: Callable[..., int], capsys: pytest.CaptureFixture[str], status: int, told: str
) -> None:
    cluster.refusal = status
    assert run() == 1
    assert told in capsys.readouterr().err
    assert "/elsewhere" not in [path for path, *_ in cluster.asked], "the credentials are sent to no other address"
    assert not cluster.at_gateway


@pytest.mark.parametrize(
    ("trusted", "settings", "opened"),
    [
        ("this", {"tls_server_name": "kubernetes"}, True),
        ("this", {}, False),  # the certificate is not of 127.0.0.1
        ("this", {"assert_hostname": False}, True),
        ("other", {"tls_server_name": "kubernetes"}, False),
        ("other", {"verify_ssl": False}, True),
    ],
)
def test_tls_is_verified_as_for_other_requests(
    tmp_path: Path, trusted: str, settings: dict[str, Any], opened: bool
) -> None:
    now = datetime.now(UTC)
    authorities = {"this": new_authority(now), "other": new_authority(now)}
    issued = issue(authorities["this"], "kubernetes", now, timedelta(hours=1))
    for name, content in (("crt", issued.chain), ("key", issued.key), ("ca", authorities[trusted].certificate)):
        (tmp_path / name).write_bytes(content)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    given = Configuration()
    given.ssl_ca_cert = str(tmp_path / "ca")
    vars(given).update(settings)
    with serving(Cluster(), tls) as address:
        url = f"https://{address}{PODS}/gateway-1/portforward?ports=8000"
        expected = nullcontext() if opened else pytest.raises(ssl.SSLCertVerificationError)
        with expected, forwarding.connect(url, {}, given, 30) as socket:
            socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert socket.makefile().readline() == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("target", "pods", "expected"),
    [
        ("http", [pod("a", ready=False), pod("b", deletionTimestamp="2026-11-26T00:00:00Z"), pod("c")], ("c", 8000)),
        ("http", [pod("a", port="web"), pod("b")], ("b", 8000)),
        (8080, [pod("a")], ("a", 8080)),
        (None, [pod("a")], ("a", 80)),
        ("http", [{"metadata": {"name": "new"}, "spec": {"containers": [{}]}}], None),
    ],
)
def test_the_pod_of_a_service(target: Any, pods: list[Any], expected: Any) -> None:
    found = forwarding.pod_port({"spec": {"ports": [{"port": 80, "targetPort": target}, {"port": 81}]}}, pods)
    assert found == (None if expected is None else forwarding.PodPort(*expected))


@pytest.mark.parametrize(
    ("given", "expected"), [("http://g", True), ("https://g/base", True), ("ns/service", False), ("a.b/c", False)]
)
def test_addresses(given: str, expected: bool) -> None:
    assert is_url(given) is expected


@pytest.mark.parametrize("given", ["", "g", "g:5000", "a/b/c", "/a", "a/", "ftp://g", "localhost:5000/x"])
def test_no_address(given: str) -> None:
    with pytest.raises(CliError, match="expected a URL such as"):
        is_url(given)
