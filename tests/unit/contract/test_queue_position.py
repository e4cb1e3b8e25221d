"""Queue position: the operator's order within a namespace and provider, and what does not count."""

from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.resources.queue_position import QueueEntry, position_of

IMAGES, TRANSCRIPT = Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION


def body(uid: str, minute: int = 0, reason: str = "Queued", phase: str = "Pending", **spec: Any) -> dict[str, Any]:
    """A run whose prepare stage has ended, unless its uid begins with `raw`."""
    facts = {} if uid.startswith("raw") else {"facts": {"type": "audio"}}
    run = {"startedAt": f"2026-11-21T00:{minute:02}:00Z"} | facts
    return {"metadata": {"uid": uid}, "spec": spec, "status": {"phase": phase, "reason": reason, "run": run}}


def entries(*bodies: tuple[Kind, dict[str, Any]]) -> list[QueueEntry]:
    return [found for kind, body in bodies if (found := QueueEntry.parse(kind, body)) is not None]


def test_priority_then_age() -> None:
    line = entries(
        (IMAGES, body("old")),
        (IMAGES, body("new", 5)),
        (Kind.LORA_TRAINING, body("urgent", 9, phase="Submitting", priority=1)),
        (IMAGES, body("blocked", 7, reason="CircuitOpen")),
        (TRANSCRIPT, body("elsewhere")),
        (TRANSCRIPT, body("raw-2", 2)),
        (Kind.LORA_TRAINING, body("raw-1", 1)),
    )
    shown = {each.uid: str(position_of(each.uid, line)) for each in line}
    assert shown == {
        "urgent": "position 1 of 4 in this namespace's queue for fal",
        "old": "position 2 of 4 in this namespace's queue for fal",
        "new": "position 3 of 4 in this namespace's queue for fal",
        "blocked": "position 4 of 4 in this namespace's queue for fal",
        "elsewhere": "position 1 of 1 in this namespace's queue for assemblyai",
        "raw-1": "position 1 of 2 in this namespace's queue for preparation",
        "raw-2": "position 2 of 2 in this namespace's queue for preparation",
    }
    assert position_of("unknown", line) is None


@pytest.mark.parametrize(
    "other",
    [
        body("x", reason="Submitting"),
        body("x", phase="Preparing"),  # Kueue has suspended its Job
        body("x", phase="Collecting"),
        {"metadata": {"uid": "x"}, "spec": {}, "status": {}},
        {"metadata": {}, "spec": {}, "status": {"phase": "Pending", "reason": "Queued"}},
        {"metadata": {"uid": "x"}, "status": {"phase": "Pending", "reason": "Queued", "run": {"startedAt": 7}}},
        {"metadata": {"uid": "x"}, "status": {"phase": "Pending", "reason": "Queued", "run": [1]}},
        {
            "metadata": {"uid": "x"},
            "status": {"phase": "Pending", "reason": "Queued", "run": {"startedAt": "2026-11-21"}},
        },
    ],
)
def test_unreadable_or_not_waiting_resource_is_not_counted(other: dict[str, Any]) -> None:
    assert QueueEntry.parse(IMAGES, other) is None


def test_a_priority_of_a_wrong_type_is_0() -> None:
    found = QueueEntry.parse(IMAGES, body("x", priority="high"))
    assert found is not None
    assert found.urgency == 0
