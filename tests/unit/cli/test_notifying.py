"""`kubectl contentgen notifications`: log of deliveries and another delivery, through the gateway."""

import json
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import pytest
import urllib3
from typer.testing import CliRunner

from contentgen_cli import app as commands
from contentgen_cli.item import Item
from contentgen_contract.names import Kind
from contentgen_contract.resources.status import ResourceStatus

ITEM = Item(
    kind=Kind.TRANSCRIPTION, namespace="red", name="talk", uid="u1", generation=1, resource_version="1",
    created_at=datetime(2026, 11, 22, tzinfo=UTC), deleting=False, rerun=None, spec={}, status=ResourceStatus(),
)  # fmt: skip
FAILED: dict[str, Any] = {
    "notificationId": "msg_1", "event": "Completed", "run": 2, "target": "https://hooks.example.com/…",
    "state": "failed",
    "createdAt": "2026-11-20T12:00:00Z", "nextAt": None,
    "attempts": [
        {"at": "2026-11-21T12:00:00Z", "result": "failed", "status": 500, "seconds": 1, "detail": "\x1b[31m 500"},
        {"at": "2026-11-20T12:00:00Z", "result": "failed", "status": None, "seconds": 15, "detail": "too slow"},
    ],
}  # fmt: skip
PATH = "http://g/api/jobs/u1/notifications"


class Gateway:
    def __init__(self) -> None:
        self.notifications: Any = [FAILED]
        self.asked: list[tuple[str, str, str]] = []

    def request(self, method: str, url: str, **given: Any) -> Any:
        self.asked.append((method, url, given["headers"]["Authorization"]))
        body = {"jobId": "u1", "notifications": self.notifications} if method == "GET" else FAILED
        return type("Reply", (), {"status": 200 if method == "GET" else 202, "data": json.dumps(body).encode()})


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()
    monkeypatch.setattr(urllib3.PoolManager, "request", lambda _, *args, **given: made.request(*args, **given))
    monkeypatch.setattr(commands, "_cluster", lambda *_: nullcontext())
    monkeypatch.setattr(commands, "_find", lambda *_: ITEM)
    return made


def run(*words: str) -> Any:
    given = ["notifications", "transcript/talk", "--token", "secret", "--gateway", "http://g/", *words]
    return CliRunner().invoke(commands.app, given)


def test_the_deliveries_of_a_resource_are_listed(gateway: Gateway) -> None:
    done = run()
    assert done.exit_code == 0, done.output
    for word in ("msg_1", "Completed", "https://hooks.example.com/…", "failed", "2026-11-21T12:00:00", "500"):
        assert word in done.output
    assert "\x1b" not in done.output
    assert gateway.asked == [("GET", PATH, "Bearer secret")]


def test_delivery_is_repeated_by_its_id(gateway: Gateway) -> None:
    done = run("--resend", "msg_1", "-o", "json")
    assert done.exit_code == 0, done.output
    assert [request[:2] for request in gateway.asked] == [
        ("GET", PATH),
        ("POST", f"{PATH}/msg_1/resend"),
        ("GET", PATH),
    ]
    assert "msg_1 of transcript/talk is delivered again" in done.stderr
    assert json.loads(done.stdout) == {"notifications": [FAILED]}


@pytest.mark.parametrize("identity", ["msg_2", "../../../admin/audit", ""])
def test_no_other_id_is_requested(gateway: Gateway, identity: str) -> None:
    done = run("--resend", identity)
    assert done.exit_code != 0
    assert "list them without --resend" in str(done.exception)
    assert {method for method, _, _ in gateway.asked} == {"GET"}


@pytest.mark.parametrize("given", [[], None, "x", [None, 5]])
def test_no_deliveries(gateway: Gateway, given: Any) -> None:
    gateway.notifications = given
    done = run()
    assert done.exit_code == 0
    assert "no notifications" in done.stderr


@pytest.mark.parametrize("attempts", [None, "x", [None], [{"at": 5, "status": 5}]])
def test_malformed_attempts_are_no_error(gateway: Gateway, attempts: Any) -> None:
    gateway.notifications = [FAILED | {"attempts": attempts, "run": None}]
    assert run().exit_code == 0


@pytest.mark.parametrize(("made", "sent"), [("made", ["Bearer made"]), ("", [])])
@pytest.mark.parametrize("words", [("notifications", "talk"), ("audit", "--last", "-n", "red")])
def test_without_a_token_one_is_made(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], made: str, sent: list[str]
) -> None:
    monkeypatch.setattr(commands, "_cluster", lambda *_: nullcontext(Mock(gateway_token=lambda: made)))
    done = CliRunner().invoke(commands.app, [*words, "--gateway", "http://g"])
    assert [request[2] for request in gateway.asked] == sent
    assert ("kubectl create token" in str(done.exception)) is not bool(sent)
