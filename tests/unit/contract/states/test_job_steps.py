"""Steps of a job: none is shown as done that did not run, and none is at work while the job waits."""

from typing import Any

import pytest

from contentgen_contract.advice.job_facts import JobFacts, UserRequest
from contentgen_contract.advice.job_steps import job_steps
from contentgen_contract.names import Kind, Phase, Reason

LORA, PICTURES = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION
CASES: dict[str, tuple[Kind, dict[str, Any], str]] = {
    "lora-new": (LORA, {}, "waiting waiting waiting waiting waiting waiting waiting"),
    "lora-preparing": (
        LORA, {"phase": "Preparing", "progress": 25}, "done done now waiting waiting waiting waiting"),
    "lora-retrying": (
        LORA, {"phase": "Preparing", "reason": "Retrying", "progress": 25},
        "done done waiting waiting waiting waiting waiting"),
    "lora-awaiting-approval": (
        LORA, {"phase": "AwaitingApproval", "reason": "AwaitingApproval", "progress": 50},
        "done done done done done waiting waiting"),
    "lora-training": (
        LORA, {"phase": "Processing", "progress": 70}, "done done done done done now waiting"),
    "lora-estimated": (
        LORA, {"phase": "Completed", "reason": "Estimated", "progress": 100},
        "done done done done done skipped skipped"),
    "lora-completed": (LORA, {"phase": "Completed", "progress": 100}, "done done done done done done done"),
    "lora-failed": (
        LORA, {"phase": "Failed", "reason": "InsufficientFrames", "progress": 35},
        "done done done failed skipped skipped skipped"),
    "lora-cancelled": (
        LORA, {"phase": "Failed", "reason": "Cancelled", "progress": 35},
        "done done done skipped skipped skipped skipped"),
    "lora-deleting": (
        LORA, {"phase": "Preparing", "progress": 25, "deleting": True},
        "done done skipped skipped skipped skipped skipped"),
    "lora-completed-deleting": (
        LORA, {"phase": "Completed", "progress": 100, "deleting": True}, "done done done done done done done"),
    "lora-failed-deleting": (
        LORA, {"phase": "Failed", "reason": "InsufficientFrames", "progress": 35, "deleting": True},
        "done done done failed skipped skipped skipped"),
    "pictures-waiting-for-lora": (PICTURES, {"phase": "Pending", "reason": "WaitingForLora"}, "waiting waiting"),
    "pictures-generating": (PICTURES, {"phase": "Processing", "progress": 10}, "now waiting"),
    "pictures-estimated": (PICTURES, {"phase": "Completed", "reason": "Estimated", "progress": 100}, "skipped skipped"),
    "pictures-storing": (PICTURES, {"phase": "Collecting", "progress": 85}, "done now"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_steps(name: str) -> None:
    kind, record, expected = CASES[name]
    assert " ".join(step.mark for step in job_steps(kind, JobFacts.of_record(record))) == expected


def test_steps_of_a_requested_run() -> None:
    facts = JobFacts(phase=Phase.COMPLETED, reason=Reason.COMPLETED, progress=100, ended=True, request=UserRequest.RUN)
    assert {step.mark for step in job_steps(LORA, facts)} == {"waiting"}


def test_the_paid_step() -> None:
    assert [step.step for step in job_steps(LORA, JobFacts()) if step.paid] == ["Training"]
