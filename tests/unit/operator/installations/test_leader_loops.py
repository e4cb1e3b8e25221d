"""Background loops of the leader: each survives every error, and logs it once."""

import asyncio
import logging
from typing import Any

import pytest
from botocore.exceptions import ClientError
from kubernetes.aio.client.exceptions import ApiException
from pymongo.errors import AutoReconnect

from contentgen_operator import components
from contentgen_operator.audit import feature as audit
from contentgen_operator.budgets import feature as budgets
from contentgen_operator.cleanup import feature as cleanup
from contentgen_operator.leader import loop as module
from contentgen_operator.leader.leadership import NotLeading
from contentgen_operator.leader.loop import LeaderLoop
from contentgen_operator.orphans import feature as orphans
from contentgen_runtime.kube import Conflict

SIGNED = ClientError({"Error": {"Code": "SlowDown", "Message": "https://s3/key?X-Amz-Signature=s3cret"}}, "PutObject")
ERRORS = {
    "MongoDB": (AutoReconnect("away"), logging.WARNING, "away"),
    "S3": (SIGNED, logging.WARNING, "https://s3/key"),
    "API server": (ApiException(status=500, reason="broken"), logging.WARNING, "500 broken"),
    "timeout": (TimeoutError(), logging.WARNING, "TimeoutError"),
    "conflict": (Conflict("changed meanwhile"), logging.WARNING, "changed meanwhile"),
    "Lease": (NotLeading("the Lease is valid for 1 s"), logging.INFO, "for 1 s"),
    "bug": (ZeroDivisionError("bug"), logging.ERROR, ""),
}


class Work:
    """Component whose rounds raise the errors of a script, and end after it. None: a round succeeds."""

    def __init__(self, *script: BaseException | None) -> None:
        self.script = [*script, asyncio.CancelledError()]
        self.changed = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return self if name == "queue" else self._round

    async def _round(self, *_: object) -> None:
        error = self.script.pop(0)
        if error is not None:
            raise error


class Components:
    """Any component is the same work."""

    class_holder = endpoint = None

    def __init__(self, work: Any) -> None:
        self.work = work
        self.features = (
            audit.bound(work, work),
            budgets.bound(work, work, work),
            cleanup.bound(work, work, work, work),
            orphans.bound(work),
        )

    def __getattr__(self, name: str) -> Any:
        return self if name in {"role", "settings"} else self.work


def loops_of(work: Any) -> dict[str, LeaderLoop]:
    """Loops of an operator, by name."""
    given: Any = Components(work)
    found = [getattr(loop, "__self__", None) for loop in components.leader_loops(given, given, given, bool)]
    return {each.name: each for each in found if isinstance(each, LeaderLoop)}


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses, which take no time."""
    found = list[float]()

    class Timeout:
        def __init__(self, seconds: float) -> None:
            found.append(seconds)

        async def __aenter__(self) -> None:
            raise TimeoutError

        async def __aexit__(self, *_: object) -> None:
            """Never entered."""

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(module.asyncio, "timeout", Timeout)
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return found


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", loops_of(Work()))
async def test_no_error_ends_a_loop(
    name: str, error: str, slept: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    raised, level, text = ERRORS[error]
    work = Work(raised, raised, None, raised)
    caplog.set_level(logging.INFO)
    with pytest.raises(asyncio.CancelledError):
        await loops_of(work)[name].run()
    assert (work.script, len(slept)) == ([], 4)
    shown = [log_record for log_record in caplog.records if log_record.name == module.__name__]
    assert [each.levelno for each in shown] == [level] * 2, "once, and again after a success"
    assert all(name in each.getMessage() and text in each.getMessage() for each in shown)
    assert "s3cret" not in caplog.text


async def test_another_error_is_logged_too(slept: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(asyncio.CancelledError):
        await LeaderLoop("work", 9, Work(AutoReconnect("a"), AutoReconnect("b"), AutoReconnect("b")).round).run()
    assert [log_record.getMessage()[-1] for log_record in caplog.records if log_record.levelno == logging.WARNING] == [
        "a",
        "b",
    ]
    assert slept == [9, 9, 9]


async def test_the_pause_after_an_error_is_its_own(slept: list[float]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await LeaderLoop("work", 9, Work(None, AutoReconnect("a"), None).round, after_error=1).run()
    assert slept == [9, 1, 9]


async def test_a_change_begins_the_next_round_at_once() -> None:
    work = Work(None, None)
    running = asyncio.create_task(LeaderLoop("work", 3600, work.round, changed=work.changed).run())
    while work.script:
        await asyncio.sleep(0)
        work.changed.set()
    await asyncio.wait({running})
    assert running.cancelled()
