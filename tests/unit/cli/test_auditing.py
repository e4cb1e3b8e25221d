"""`kubectl contentgen audit`: requests an audit, waits for its report, prints it."""

import json
from typing import Any
from unittest.mock import Mock

import pytest
import urllib3
from typer.testing import CliRunner

from contentgen_cli.app import app
from contentgen_cli.commands import auditing
from contentgen_cli.errors import CliError, NotPermitted
from contentgen_cli.gateway import GatewayClient, open_gateway

REPORT: dict[str, Any] = {
    "reportId": "r", "request": "t1", "since": "2026-11-08T12:00:00Z", "finishedAt": "2026-11-22T12:00:00Z",
    "purchases": 5, "new": 1, "counts": {"UnknownRequest": 1},
    "coverage": [{"provider": "fal", "subject": "bills", "complete": False, "problem": "fal answered 403"}],
    "findings": [
        {"kind": "UnknownRequest", "provider": "fal", "account": "marketing", "requestId": "x",
         "text": "nobody\x1b[31m", "billedMicros": 50_000, "expectedMicros": None,
         "firstSeenAt": "2026-11-21T12:00:00Z"},
    ],
}  # fmt: skip


class Gateway:
    """Replies of the gateway in turn; the last one is repeated."""

    def __init__(self, *replies: tuple[int, Any]) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[str, str, Any]] = []

    def request(self, _: Any, method: str, url: str, **given: Any) -> Any:
        self.asked.append((method, url, given["headers"]["Authorization"]))
        status, body = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return type("Reply", (), {"status": status, "data": json.dumps(body).encode()})


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway((202, {"token": "t1"}), (200, {"report": None}), (200, {"report": REPORT}))
    monkeypatch.setattr(urllib3.PoolManager, "request", lambda *args, **given: made.request(*args, **given))  # noqa: PLW0108 - a method
    monkeypatch.setattr("time.sleep", lambda _: None)
    return made


def opened(url: str = "http://g", access: str | None = "t") -> GatewayClient:
    return open_gateway(url, access, lambda: Mock(gateway_token=lambda: ""))


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["audit", "--token", "secret", "--gateway", "http://g/", *words])


def test_an_audit_is_requested_and_its_report_printed(gateway: Gateway) -> None:
    done = run()
    assert done.exit_code == 2, done.output
    assert "UnknownRequest" in done.output
    assert "0.0500" in done.output
    assert "marketing" in done.output
    assert "\x1b" not in done.output
    assert "1 findings, 1 of them new; 5 purchases since 2026-11-08" in done.output
    assert "not read completely: fal bills of account default: fal answered 403" in done.output
    assert [request[:2] for request in gateway.asked] == [
        ("POST", "http://g/api/admin/audit"), ("GET", "http://g/api/admin/audit"), ("GET", "http://g/api/admin/audit")
    ]  # fmt: skip
    assert {request[2] for request in gateway.asked} == {"Bearer secret"}


def test_the_last_report_needs_no_audit(gateway: Gateway) -> None:
    gateway.replies = [(200, {"report": REPORT | {"findings": [], "counts": {"OtherUsersRequest": 3}}})]
    done = run("--last", "-o", "json")
    assert done.exit_code == 0
    assert json.loads(done.output)["counts"] == {"OtherUsersRequest": 3}
    assert [request[0] for request in gateway.asked] == ["GET"]


def test_the_report_of_an_earlier_audit_is_not_the_answer(gateway: Gateway) -> None:
    gateway.replies = [(202, {"token": "t2"}), (200, {"report": REPORT})]
    times = iter(range(0, 1000, 2))
    with pytest.raises(CliError, match="not done after 10 s"):
        auditing.new_report(opened(), 10, clock=lambda: float(next(times)), sleep=lambda _: None)


def test_without_a_report(gateway: Gateway) -> None:
    gateway.replies = [(200, {"report": None})]
    with pytest.raises(CliError, match="no report yet"):
        auditing.last_report(opened())


def test_a_refusal_names_the_verb(gateway: Gateway) -> None:
    gateway.replies = [(403, {"detail": "an audit needs the verb audit on the OperatorClass 'default'"})]
    with pytest.raises(NotPermitted, match="needs the verb audit"):
        auditing.last_report(opened())


@pytest.mark.parametrize(("url", "token"), [("g:5000", "x"), ("http://g", None)])
def test_a_wrong_url_or_no_token_is_refused(gateway: Gateway, url: str, token: str | None) -> None:
    with pytest.raises(CliError):
        auditing.last_report(opened(url, token))
    assert gateway.asked == []
