"""Decision table of `expiry.obstacle`: every combination of its inputs."""

import itertools
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.status import RunStatus
from contentgen_operator.cleanup import expiry
from contentgen_operator.plans import history_searches
from contentgen_operator.state.decision_input import DecisionInput, DecisionSettings, decision_input
from contentgen_operator.state.observed import Observation, Resource
from contentgen_operator.state.purchases import Purchase, PurchaseState, SendState
from contentgen_operator.state.run_document import RunDocument, UnrecordedRun

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KIND, UID = Kind.IMAGE_GENERATION, "uid-it"
PRICED = {"prompt": "a cat", "image": {"count": 2}}
Body = dict[str, Any]


def resource(spec: Body, status: Body | None = None, annotations: dict[str, str] | None = None) -> Resource:
    metadata = {"name": "it", "namespace": "ns", "uid": UID, "generation": 1, "resourceVersion": "1"}
    metadata |= {"creationTimestamp": "2026-11-23T11:00:00Z", "annotations": annotations or {}}
    return Resource.parse(KIND, {"metadata": metadata, "spec": spec, "status": status or {}})


def first_run() -> RunStatus:
    return decision_input(resource(PRICED), NOW, DecisionSettings()).run


def status_of(run: RunStatus, phase: Phase, reason: Reason) -> Body:
    body = run.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"phase": phase.value, "reason": reason.value, "run": body}


def purchase(state: PurchaseState, **more: Any) -> Purchase:
    return Purchase.model_validate(
        {"state": state, "job_id": UID, "provider": "fal", "model": "fal-ai/flux/dev", "correlation_key": "m"}
        | {"created_at": NOW, "changed_at": NOW, "purchase_id": "p"}
        | more
    )


PURCHASES: dict[str, Purchase | None] = {
    "none": None,
    "planned": purchase(PurchaseState.INTENT, send_state=SendState.PLANNED),
    "reply lost": purchase(PurchaseState.INTENT, send_state=SendState.SENDING),
    "reply lost a month ago": purchase(
        PurchaseState.INTENT, send_state=SendState.SENDING, sent_at=NOW - history_searches.HISTORY
    ),
    "in progress": purchase(PurchaseState.SUBMITTED),
    "result": purchase(PurchaseState.SUCCEEDED, result_key="runs/it/result.json"),
    "result without a file": purchase(PurchaseState.SUCCEEDED),
    "collected": purchase(PurchaseState.COLLECTED, result_key="runs/it/result.json"),
    "failed": purchase(PurchaseState.FAILED),
    "refused": purchase(PurchaseState.REFUSED),
    "cancelled": purchase(PurchaseState.CANCELLED),
    "of another resource": purchase(PurchaseState.SUBMITTED, job_id="uid-another"),
}
OPEN = ("reply lost", "in progress")
DOCUMENT = RunDocument(uid=UID, namespace="ns", kind=KIND, name="it")
UNRECORDED = DOCUMENT.model_copy(update={"unrecorded": UnrecordedRun(number=1, version=1)})


class CleanupRow(NamedTuple):
    """One combination of purchases: of the run, of an earlier attempt, and of another run."""

    current: str
    earlier: str
    other: str
    completed: bool


def cleanup_case(row: CleanupRow, document: RunDocument | None = DOCUMENT) -> DecisionInput:
    phase, reason = (Phase.COMPLETED, Reason.COMPLETED) if row.completed else (Phase.FAILED, Reason.PROVIDER_FAILED)
    body = resource(PRICED, status_of(first_run(), phase, reason) | {"completionTime": "2026-11-23T11:30:00Z"})
    observed = Observation(
        purchase=PURCHASES[row.current],
        earlier=tuple(each for each in [PURCHASES[row.earlier]] if each),
        other_runs=tuple(each for each in [PURCHASES[row.other]] if each),
    )
    return decision_input(body.model_copy(update={"document": document}), NOW, DecisionSettings()).observing(observed)


def cleanup_obstacle(row: CleanupRow) -> str:
    """Cause for which the resource is kept, in the words of docs/policies.md; empty: it is deleted."""
    if any(each in OPEN for each in (row.current, row.earlier, row.other)):
        return "a paid request may still finish"
    if row.completed and row.current != "collected":
        return "the ledger does not confirm its result"
    # A result of an attempt before one that was collected is of no use.
    waiting = (row.current, row.other) if row.current == "collected" else (row.current, row.earlier, row.other)
    return "a paid result is not collected" if "result" in waiting else ""


def test_the_table_of_expiry() -> None:
    seen = set[str]()
    for row in itertools.starmap(CleanupRow, itertools.product(PURCHASES, PURCHASES, PURCHASES, (True, False))):
        found = expiry.obstacle(cleanup_case(row))
        assert found == cleanup_obstacle(row), row
        seen.add(found)
    assert len(seen) == 4


@pytest.mark.parametrize("document", [None, UNRECORDED])
def test_resource_with_an_unconfirmed_run_does_not_expire(document: RunDocument | None) -> None:
    row = CleanupRow("collected", "none", "none", completed=True)
    assert expiry.obstacle(cleanup_case(row)) == ""
    assert expiry.obstacle(cleanup_case(row, document)) == "MongoDB does not confirm its run"


def test_a_resource_of_an_unconfirmed_tenant_does_not_expire() -> None:
    case = cleanup_case(CleanupRow("collected", "none", "none", completed=True))
    blocked = case.resource.model_copy(update={"tenant": Tenant(block_reason="the namespace is being checked")})
    assert expiry.obstacle(case.model_copy(update={"resource": blocked})) == "the namespace is being checked"
