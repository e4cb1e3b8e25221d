"""Rows of benchmark reports, and the soak's definitions of error, step back and growth."""

import json
from pathlib import Path

import pytest

from contentgen_bench import report
from contentgen_bench.latency import soak
from contentgen_bench.report import Row


@pytest.mark.parametrize(
    ("value", "goal", "bound", "holds"),
    [
        (2.0, 2.0, "at most", True),
        (2.1, 2.0, "at most", False),
        (10.0, 10.0, "at least", True),
        (9.9, 10.0, "at least", False),
        (9.9, None, "at most", None),
    ],
)
def test_a_goal_is_a_bound(value: float, goal: float | None, bound: str, holds: bool | None) -> None:
    row = Row.model_validate({"figure": "f", "value": value, "unit": "s", "goal": goal, "bound": bound})
    assert row.holds is holds
    assert report.verdict([row]) == (1 if holds is False else 0)


def test_the_file_has_rows_of_five_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "FOLDER", tmp_path / "bench")
    rows = [Row(figure="start", value=1.5, unit="s", goal=5), Row(figure="jobs", value=7, unit="jobs")]
    assert json.loads(report.write("x", rows).read_text()) == [
        {"figure": "start", "value": 1.5, "unit": "s", "goal": "≤ 5 s", "holds": True},
        {"figure": "jobs", "value": 7.0, "unit": "jobs", "goal": None, "holds": None},
    ]
    assert "| start | 1.50 s | ≤ 5 s | yes |" in report.table(rows)


def test_a_document_keeps_what_is_around_its_table(tmp_path: Path) -> None:
    path = tmp_path / "b.md"
    path.write_text("before\n<!-- x -->\nstale\n<!-- /x -->\nafter\n")
    for value in (1, 2):
        report.document("x", [Row(figure="f", value=value, unit="s")], path)
    text = path.read_text()
    assert text.startswith("before\n<!-- x -->\n| figure |")
    assert text.endswith("<!-- /x -->\nafter\n")
    assert "| f | 2 s |" in text
    assert "stale" not in text
    assert "| f | 1 s |" not in text


@pytest.mark.parametrize(
    ("story", "steps"),
    [
        ([("Pending", 0), ("Preparing", 10), ("Preparing", 20), ("Completed", 100)], 0),
        ([("Processing", 60), ("Submitting", 60)], 1),
        ([("Preparing", 20), ("Preparing", 19)], 1),
        ([("Submitting", 60), ("SubmissionUnknown", 60), ("Processing", 60)], 0),
        ([("Submitting", 60), ("SubmissionUnknown", 60), ("Submitting", 60)], 0),
    ],
)
def test_phases_and_progress_go_forward(story: list[tuple[str, int]], steps: int) -> None:
    assert len(soak.steps_back(story)) == steps


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ('{"level": "ERROR", "message": "x"}', True),
        ('{"level": "error", "event": "x"}', True),  # a worker's
        ('{"level": "WARNING", "message": "x"}', False),
        ('{"level": "INFO", "message": "no ERROR here"}', False),
        ("Traceback (most recent call last):", True),
        ("2026-11-21 06:00:00 ERROR contentgen: x", True),
        ("OpenBLAS warning: precompiled", False),
    ],
)
def test_errors_of_a_log(line: str, wanted: bool) -> None:
    assert bool(soak.errors([line])) is wanted


def test_growth_compares_the_last_third_with_the_first() -> None:
    assert soak.growth([100, 101, 100, 120, 130, 129]) == pytest.approx(29)
    assert soak.growth([100, 180, 100, 101, 100, 100]) == pytest.approx(-40)
    assert soak.growth([100]) == 0
