"""Persistence of ledger and jobs across restarts, and counts of armed faults."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from contentgen_sandbox.faults import Fault, Faults
from contentgen_sandbox.jobs import Jobs, SandboxJob
from contentgen_sandbox.ledger import LedgerEntry, SandboxLedger

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def entry(entry_id: str) -> LedgerEntry:
    return LedgerEntry(
        id=entry_id,
        provider="fal",
        model="fal-ai/flux/dev",
        created_at=NOW,
        what="1 x 512x512",
        amount_usd=Decimal("0.035"),
        request_id=entry_id,
        marker="seed:1",
    )


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = SandboxLedger(path)
    ledger.write(entry("a"))
    ledger.write(entry("b"))
    ledger.settle("b", Decimal("1.5"), "settled")
    with path.open("a") as file:
        file.write('{"id": "torn')
    report = SandboxLedger(path).report()
    assert report["total_usd"] == "1.535"
    assert [item["what"] for item in report["entries"]] == ["1 x 512x512", "settled"]


def test_cleared(tmp_path: Path) -> None:
    ledger = SandboxLedger(tmp_path / "ledger.jsonl")
    ledger.write(entry("a"))
    ledger.clear()
    ledger.settle("a", Decimal(9), "too late")
    assert ledger.report() == SandboxLedger(tmp_path / "ledger.jsonl").report() == {"total_usd": "0", "entries": []}


def test_a_backdated_entry_is_kept_and_a_cleared_one_stays_away(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = SandboxLedger(path)
    ledger.write(entry("a"))
    ledger.backdate("a", timedelta(hours=2))
    assert [(each_entry.created_at, each_entry.amount_usd) for each_entry in SandboxLedger(path).entries()] == [
        (NOW - timedelta(hours=2), Decimal("0.035"))
    ]
    ledger.clear()
    ledger.backdate("a", timedelta(hours=2))
    assert SandboxLedger(path).entries() == []


def test_faults_fire_where_and_as_often_as_armed() -> None:
    faults = Faults()
    faults.arm([Fault(fault="reply_lost", provider="fal", model="m", count=2), Fault(fault="slow_status")])
    assert faults.take("reply", "fal", "other") is None
    assert faults.take("reply", "assemblyai", "m") is None
    assert [faults.take("reply", "fal", "m") is not None for _ in range(3)] == [True, True, False]
    assert [fault.fault for fault in faults.armed()] == ["slow_status"]


def job(number: int, *, done: bool) -> SandboxJob:
    when = NOW + timedelta(seconds=number)
    return SandboxJob(
        id=f"job-{number}",
        provider="fal",
        model="m",
        input={},
        base_url="http://h",
        created_at=when,
        ended_at=when if done else None,
    )


def test_jobs_are_read_back_and_the_oldest_finished_forgotten(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path / "jobs", tmp_path / "files", kept=2)
    for number, done in enumerate([False, True, True, True]):
        jobs.add(job(number, done=done))
    again = Jobs(tmp_path / "jobs", tmp_path / "files", kept=2)
    assert [found.id for found in again.all("fal", "")] == ["job-0", "job-3"]
    assert [found.id for found in again.unfinished()] == ["job-0"]


def test_jobs_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    Jobs(tmp_path / "jobs", tmp_path / "files", kept=2).add(job(1, done=True))
    (path,) = (tmp_path / "jobs").glob("*.json")
    line = {"timestamp": NOW.isoformat(), "message": "old", "level": "WARNING"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"logs": [line]}))
    (read,) = Jobs(tmp_path / "jobs", tmp_path / "files", kept=2).all("fal", "")
    assert [log.level for log in read.logs] == ["WARN"]
