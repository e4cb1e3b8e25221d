"""Decision table of the gate: every combination of its inputs."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_operator.queue import gate
from contentgen_operator.queue.values import Limit, Turn
from contentgen_operator.state.decision_input import DecisionInput, DecisionSettings, decision_input
from contentgen_operator.state.observed import Observation, Resource
from contentgen_operator.state.purchases import Purchase, PurchaseState

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BEGAN = NOW - timedelta(hours=1)
PRICED = {"prompt": "a cat", "image": {"count": 2}}
EDITED = PRICED | {"prompt": "a dog"}
PAID = Purchase(
    state=PurchaseState.FAILED,
    job_id="uid-it",
    provider="fal",
    model="fal-ai/flux/dev",
    correlation_key="m",
    created_at=NOW,
    changed_at=NOW,
    purchase_id="p",
)
Body = dict[str, Any]


def resource(spec: Body, status: Body | None = None) -> Resource:
    metadata = {"name": "it", "namespace": "ns", "uid": "uid-it", "generation": 1, "resourceVersion": "1"}
    metadata |= {"creationTimestamp": "2026-11-23T11:00:00Z"}
    return Resource.parse(Kind.IMAGE_GENERATION, {"metadata": metadata, "spec": spec, "status": status or {}})


class QueueRow(NamedTuple):
    """One combination."""

    turn: Turn | None
    deadline: int | None
    waited: int | None  # seconds; None: the wait begins now
    edited: bool
    paid_before: bool


TURNS = (None, Turn(granted=True), *(Turn(granted=False, limit=limit, most=3, cause="it was busy") for limit in Limit))


def queue_rows() -> Iterator[QueueRow]:
    return itertools.starmap(
        QueueRow, itertools.product(TURNS, (None, 60, 900), (None, 0, 59, 60, 901), (True, False), (True, False))
    )


def queue_case(row: QueueRow) -> DecisionInput:
    since = NOW - timedelta(seconds=row.waited) if row.waited is not None else None
    first = decision_input(resource(PRICED), NOW, DecisionSettings()).run
    run = first.model_copy(update={"queued_at": since, "started_at": BEGAN}).model_dump(mode="json", by_alias=True)
    spec = (EDITED if row.edited else PRICED) | ({"queueDeadlineSeconds": row.deadline} if row.deadline else {})
    body = resource(spec, {"phase": Phase.PENDING.value, "reason": Reason.QUEUED.value, "run": run})
    observed = Observation(earlier=(PAID,) if row.paid_before else (), facts=(row.turn,) if row.turn else ())
    return decision_input(body, NOW, DecisionSettings()).observing(observed)


def queue_verdict(row: QueueRow) -> tuple[str, float | None]:
    """The verdict, and the seconds until the next look."""
    if row.turn is None or row.turn.granted:
        return "goes on", None
    if row.edited:
        return "replaced", None
    left = row.deadline - (row.waited or 0) if row.deadline is not None else None
    if left is not None and left <= 0:
        return "fails", None
    return "waits", min(left, 300) if left is not None else 300


def test_the_table_of_the_queue() -> None:
    seen = set[str]()
    for row in queue_rows():
        plan, (verdict, again) = gate.hold(queue_case(row)), queue_verdict(row)
        seen.add(verdict)
        if verdict == "goes on":
            assert plan is None, row
            continue
        assert plan is not None, row
        assert plan.payment is None, row
        status = plan.status
        assert status.run is not None, row
        match verdict:
            case "replaced":
                assert status.run.number == 2, row
            case "fails":
                assert (status.phase, status.reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED), row
                paid = "no other attempt is made" if row.paid_before else "nothing was paid"
                assert f"spec.queueDeadlineSeconds ({row.deadline}); {paid}" in (status.message or ""), row
            case _:
                circuit = row.turn is not None and row.turn.limit is Limit.CIRCUIT
                assert status.reason == (Reason.CIRCUIT_OPEN if circuit else Reason.QUEUED), row
                assert status.run.queued_at == NOW - timedelta(seconds=row.waited or 0), row
                assert plan.again_seconds == again, row
    assert seen == {"goes on", "replaced", "fails", "waits"}


def test_newer_facts_of_a_feature_replace_its_earlier_ones() -> None:
    waits, granted = Turn(granted=False), Turn(granted=True)
    assert Observation().with_facts(waits).with_facts(granted).facts_of(Turn) == granted
