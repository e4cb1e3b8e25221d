"""`make facts-due`: facts that were read too long ago."""

import json
from datetime import date
from pathlib import Path

import pytest

from facts_due import due, report

TODAY = date(2026, 11, 27)


def write(facts: Path, name: str, content: object) -> None:
    path = facts / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("read_on", "is_due"), [("2026-08-29", False), ("2026-08-28", True), ("2026-11-27", False), ("2020-01-01", True)]
)
def test_fact_is_due_after_90_days(tmp_path: Path, read_on: str, is_due: bool) -> None:
    write(tmp_path, "fal/platform.json", {"readOn": read_on})
    assert bool(list(due(tmp_path, TODAY))) is is_due


@pytest.mark.parametrize("content", [{}, {"readOn": None}, {"readOn": "yesterday"}, ["readOn"]])
def test_fact_without_a_date_is_due(tmp_path: Path, content: object) -> None:
    write(tmp_path, "a.json", content)
    assert list(due(tmp_path, TODAY)) == [("a.json", None)]


def test_oldest_facts_come_first(tmp_path: Path) -> None:
    write(tmp_path, "a.json", {"readOn": "2026-08-01"})
    write(tmp_path, "s3/b.json", {"readOn": "2026-07-01"})
    write(tmp_path, "c.json", {})
    lines = report(tmp_path, TODAY).splitlines()
    assert lines == ["no date     c.json", "2026-07-01  s3/b.json", "2026-08-01  a.json"]


def test_report_says_that_none_is_due(tmp_path: Path) -> None:
    assert report(tmp_path, TODAY) == "no fact is older than 90 days"
