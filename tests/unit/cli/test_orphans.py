"""`kubectl contentgen orphans`: table, JSON, and errors of the gateway."""

import json
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from contentgen_cli import __main__

ORPHAN: dict[str, Any] = {
    "namespace": "demo", "kind": "ImageGeneration", "name": "avatar", "provider": "fal", "requestId": "r1",
    "state": "kept", "cost": "0.0350", "costKnown": True, "keptUntil": "2026-12-21T00:00:00Z",
    "advice": "apply ImageGeneration avatar again \x1b[31m",
}  # fmt: skip


class Gateway:
    """Gateway: pages of orphans, and recorded requests."""

    def __init__(self) -> None:
        self.status = 200
        self.orphans = [ORPHAN]
        self.asked: list[tuple[dict[str, list[str]], str | None]] = []
        self.url = ""

    def answer(self, path: str, token: str | None) -> Any:
        query = parse_qs(urlsplit(path).query)
        self.asked.append((query, token))
        at = int(query.get("cursor", ["0"])[0])
        more = at + 1 < len(self.orphans)
        return {"orphans": self.orphans[at : at + 1], "total": 1, "nextCursor": str(at + 1) if more else None}


@pytest.fixture
def gateway(serve: Callable[..., str], use_cluster: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """No log output."""

        def do_GET(self) -> None:
            body = json.dumps(made.answer(self.path, self.headers.get("Authorization"))).encode()
            self.send_response(made.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    made.url = serve(Handler)
    use_cluster("http://127.0.0.1:9")
    monkeypatch.setenv("CONTENTGEN_GATEWAY", made.url)
    monkeypatch.setenv("CONTENTGEN_TOKEN", "t")
    return made


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["kubectl-contentgen", "orphans", *words])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    return int(ended.value.code or 0)


def test_the_table(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.orphans = [ORPHAN, ORPHAN | {"name": "other", "cost": None}, ORPHAN | {"costKnown": False}]
    assert run(monkeypatch) == 0
    told = capsys.readouterr().out
    assert [line.split()[2] for line in told.splitlines()[1:]] == ["avatar", "other", "avatar"]
    assert "0.0350 USD   2026-12-21" in told
    assert "unknown" in told
    assert "~0.0350 USD" in told
    assert "\x1b" not in told, "a name or an advice does not control the terminal"
    assert gateway.asked[0] == ({"namespace": ["demo"]}, "Bearer t")
    assert [query.get("cursor") for query, _ in gateway.asked] == [None, ["1"], ["2"]]


def test_for_scripts_and_of_all_namespaces(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "-A", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"orphans": [ORPHAN]}
    assert gateway.asked[0][0] == {}


def test_no_orphans(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.orphans = []
    assert run(monkeypatch) == 0
    assert "no orphans in namespace 'demo'" in capsys.readouterr().err


@pytest.mark.parametrize(("status", "words"), [(401, "audience"), (302, "returned 302"), (500, "returned 500")])
def test_refusals(
    status: int,
    words: str,
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gateway.status = status
    assert run(monkeypatch) == 1
    assert words in capsys.readouterr().err


def test_without_a_token_the_clusters_is_not_sent(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One is made at the API server, which is away here; test_downloading.py has it."""
    monkeypatch.delenv("CONTENTGEN_TOKEN")
    assert run(monkeypatch) == 1
    assert "the cluster at http://127.0.0.1:9 does not respond" in capsys.readouterr().err
    assert gateway.asked == []


@pytest.mark.parametrize("given", ["file:///etc/passwd", "localhost:5000"])
def test_a_gateway_that_is_no_url(
    given: str, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--gateway", given) == 1
    assert "expected a URL such as" in capsys.readouterr().err
    assert gateway.asked == []


def test_a_gateway_that_is_away(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--gateway", "http://127.0.0.1:9") == 1
    assert "reached through the API server" in capsys.readouterr().err
    assert gateway.asked == []
