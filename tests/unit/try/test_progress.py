"""Progress display of the demo."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from contentgen_try import progress
from contentgen_try.progress import View, duration, follow, lines, printed_views, table, view

NOW = datetime(2026, 11, 21, 3, 21, tzinfo=UTC)


def resource(kind: str = "LoraTraining", **status: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "avatar-032109"}, "status": status}


def shown(views: list[View], width: int = 100) -> list[str]:
    console = Console(width=width, record=True, quiet=False, file=None, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(table(views, NOW, timedelta(seconds=12), width))
    return captured.get().splitlines()


def test_a_resource_without_a_status_is_shown() -> None:
    bare = {"kind": "LoraTraining", "metadata": {"name": "a"}}
    assert (view(bare).phase, view(bare).progress) == ("", 0)
    assert "—" in shown([view(bare)])[1]


def test_a_resource_without_a_status_has_no_line() -> None:
    bare, known = [view(resource())], [view(resource(phase="Pending"))]
    second = timedelta(seconds=1)
    assert lines([], bare, second) == []
    assert len(lines(printed_views([], bare), known, second)) == 1


def test_a_reason_that_only_repeats_the_phase_is_left_out() -> None:
    assert view(resource(phase="Preparing", reason="Preparing")).reason == ""
    assert view(resource(phase="Pending", reason="WaitingForLora")).reason == "WaitingForLora"


def test_the_longest_row_fits_a_hundred_columns() -> None:
    longest = resource(
        "ImageGeneration",
        phase="Preparing",
        progress=100,
        stage="ExtractingFrames",
        reason="WaitingForLora",
        cost={"display": "~$2.00"},
        estimatedCompletionTime="2026-11-21T03:23:04Z",
    )
    heading, row, elapsed = shown([view(longest)])
    assert heading.split() == ["KIND", "NAME", "PHASE", "PROGRESS", "STAGE", "ETA", "COST", "REASON"]
    for word in ("ImageGeneration", "avatar-032109", "100%", "ExtractingFrames", "~2m 04s", "~$2.00", "WaitingForLora"):
        assert word in row
    assert elapsed.strip() == "12s since apply"


def test_a_narrow_terminal_keeps_what_matters_most() -> None:
    running = resource("ImageGeneration", phase="Preparing", progress=50, stage="ExtractingFrames")
    heading, row, _ = shown([view(running)], width=80)
    assert "ETA" not in heading
    for word in ("ImageGeneration", "avatar-032109", "Preparing", "50%", "ExtractingFrames"):
        assert word in row


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59.4, "59s"), (60, "1m 00s"), (187, "3m 07s"), (-4, "0s")])
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text


def test_the_time_taken_is_from_start_to_end() -> None:
    ended = view(resource(phase="Completed", startTime="2026-11-21T03:20:00Z", completionTime="2026-11-21T03:20:42Z"))
    assert duration(ended.took) == "42s"
    assert duration(view(resource()).took) == ""


def test_a_line_for_each_change_worth_one() -> None:
    began = [view(resource(phase="Preparing", stage="Downloading", progress=0))]
    moved = [view(resource(phase="Preparing", stage="Downloading", progress=9))]
    further = [view(resource(phase="Preparing", stage="Downloading", progress=10))]
    staged = [view(resource(phase="Preparing", stage="DetectingScenes", progress=10))]
    second = timedelta(seconds=1)

    assert len(lines([], began, second)) == 1
    assert lines(began, moved, second) == []
    assert len(lines(began, further, second)) == 1
    assert "DetectingScenes" in lines(further, staged, second)[0]


def test_small_steps_add_up_to_a_line() -> None:
    began = [view(resource(phase="Processing", stage="Training", progress=60))]
    slow = [view(resource(phase="Processing", stage="Training", progress=66))]
    later = [view(resource(phase="Processing", stage="Training", progress=71))]
    said = printed_views(began, slow)
    assert said == tuple(began)
    assert len(lines(said, later, timedelta(seconds=3))) == 1


@pytest.mark.parametrize(
    ("phase", "reason", "stuck"),
    [
        ("Failed", "NoVideo", True),
        ("SubmissionUnknown", "SubmissionUnknown", True),
        ("Completed", "Completed", False),
        ("Pending", "LoraMissing", True),
        ("Pending", "LoraFailed", True),
        ("Pending", "WaitingForLora", False),
        ("AwaitingApproval", "AwaitingApproval", True),
        ("Pending", "ProviderNotConfigured", True),
        ("Pending", "ClusterNotConfirmed", False),
        ("Pending", "StoreUnavailable", False),
    ],
)
def test_job_that_waits_for_a_person_is_stuck(phase: str, reason: str, stuck: bool) -> None:
    assert view(resource(phase=phase, reason=reason)).stuck is stuck


def test_a_missing_lora_is_said_at_once() -> None:
    message = "LoraTraining heads does not exist in this namespace"
    waits = view(resource("ImageGeneration", phase="Pending", reason="LoraMissing", message=message))
    first, second = lines([], [waits], timedelta(seconds=1))
    assert "LoraMissing" in first
    assert second.strip() == f"{message}."
    assert lines([waits], [waits], timedelta(seconds=2)) == []
    assert any(message in line for line in shown([waits]))


def test_follow_survives_an_api_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PERIOD_SECONDS", 0)
    answers: list[Exception | dict[str, Any]] = [
        resource(phase="Preparing"), OSError("away"), resource(phase="Completed"),
    ]  # fmt: skip

    def read() -> tuple[dict[str, Any], ...]:
        match answers.pop(0):
            case Exception() as error:
                raise error
            case body:
                return (body,)

    console = Console(width=100, force_terminal=False, highlight=False)
    with console.capture() as captured:
        (ended,) = follow(console, read, timedelta(minutes=1), unavailable=(OSError,))
    assert (ended["status"]["phase"], answers) == ("Completed", [])
    assert [line.split()[3] for line in captured.get().splitlines()] == ["Preparing", "Completed"]
    monkeypatch.setattr(progress, "_SILENCE_SECONDS", -1)
    answers.append(OSError("away"))
    with pytest.raises(OSError, match="away"):
        follow(console, read, timedelta(minutes=1), unavailable=(OSError,))
