"""Decision table of the gate: every combination of its inputs."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from contentgen_contract.annotations.approve_run import given_verdicts
from contentgen_contract.names import (
    APPROVAL_LABEL,
    APPROVE_ANNOTATION,
    APPROVED_BY_ANNOTATION,
    REJECT_ANNOTATION,
    Kind,
    Phase,
    Reason,
    Verdict,
)
from contentgen_contract.resources.status import ApprovalStatus, RunStatus
from contentgen_operator.approval import gate
from contentgen_operator.state.decision_input import DecisionInput, DecisionSettings, decision_input
from contentgen_operator.state.observed import NamespaceLabels, Observation, Resource

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PRICED = {"prompt": "a cat", "image": {"count": 2}}
EDITED = PRICED | {"prompt": "a dog"}
Body = dict[str, Any]


def resource(spec: Body, status: Body | None = None, annotations: dict[str, str] | None = None) -> Resource:
    metadata = {"name": "it", "namespace": "ns", "uid": "uid-it", "generation": 1, "resourceVersion": "1"}
    metadata |= {"creationTimestamp": "2026-11-23T11:00:00Z", "annotations": annotations or {}}
    return Resource.parse(Kind.IMAGE_GENERATION, {"metadata": metadata, "spec": spec, "status": status or {}})


def first_run() -> RunStatus:
    return decision_input(resource(PRICED), NOW, DecisionSettings()).run


def status_of(run: RunStatus, phase: Phase, reason: Reason) -> Body:
    body = run.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"phase": phase.value, "reason": reason.value, "run": body}


class ApprovalRow(NamedTuple):
    """One combination."""

    required_by: str  # spec, namespace, installation, nobody
    annotations: str
    begun: bool  # the run has waited before: its approval is in its run document
    shown: bool  # the API server shows it as waiting
    lapsed: bool  # the annotations are those that were there before
    edited: bool


ANNOTATIONS: dict[str, dict[str, str]] = {
    "none": {},
    "approve": {APPROVE_ANNOTATION: "1-999", APPROVED_BY_ANNOTATION: "ann"},
    "approve, another value": {APPROVE_ANNOTATION: "1-999-again", APPROVED_BY_ANNOTATION: "ann"},
    "reject": {REJECT_ANNOTATION: "1", APPROVED_BY_ANNOTATION: "ann"},
    "both": {APPROVE_ANNOTATION: "1-999", REJECT_ANNOTATION: "1", APPROVED_BY_ANNOTATION: "ann"},
    "the next run": {APPROVE_ANNOTATION: "2-999", APPROVED_BY_ANNOTATION: "ann"},
    "without a user": {APPROVE_ANNOTATION: "1-999"},
    "without an amount": {APPROVE_ANNOTATION: "1", APPROVED_BY_ANNOTATION: "ann"},
    "below the price": {APPROVE_ANNOTATION: "1-0.000001", APPROVED_BY_ANNOTATION: "ann"},
}


def approval_rows() -> Iterator[ApprovalRow]:
    flags = (True, False)
    required_by = ("spec", "namespace", "installation", "nobody")
    return itertools.starmap(ApprovalRow, itertools.product(required_by, ANNOTATIONS, flags, flags, flags, flags))


def approval_case(row: ApprovalRow) -> DecisionInput:
    annotations, run = ANNOTATIONS[row.annotations], first_run()
    if row.begun:
        lapsed = (
            tuple(verdict.digest for verdict in given_verdicts(annotations) if verdict.run == 1) if row.lapsed else ()
        )
        run = run.model_copy(
            update={"approval": ApprovalStatus(run=1, since=NOW, lapsed=lapsed, bound="999", amount="999")}
        )
    phase, reason = (
        (Phase.AWAITING_APPROVAL, Reason.AWAITING_APPROVAL) if row.shown else (Phase.SUBMITTING, Reason.SUBMITTING)
    )
    spec = (EDITED if row.edited else PRICED) | ({"approval": "Manual"} if row.required_by == "spec" else {})
    body = resource(spec, status_of(run, phase, reason), annotations)
    settings = DecisionSettings(approval_required=row.required_by == "installation")
    labels = NamespaceLabels(labels={APPROVAL_LABEL: "Manual"} if row.required_by == "namespace" else {})
    observed = Observation(namespace_labels=labels)
    return decision_input(body, NOW, settings).observing(observed)


def approval_verdict(row: ApprovalRow) -> str:
    """The verdict in the words of docs/policies.md."""
    counts = row.begun and row.shown and not row.lapsed and not row.edited
    if counts and row.annotations in ("reject", "both"):
        return "rejected"
    if counts and row.annotations in ("approve", "approve, another value"):
        return "goes on"
    if row.required_by == "nobody" and not (row.begun and row.edited):
        return "goes on"
    return "replaced" if row.edited else "waits"


def test_the_table_of_approvals() -> None:
    seen = set[str]()
    for row in approval_rows():
        plan = gate.hold(gate.with_verdict(approval_case(row)))
        verdict = approval_verdict(row)
        seen.add(verdict)
        if verdict == "goes on":
            assert plan is None, row
            continue
        assert plan is not None, row
        assert plan.payment is None, row
        assert plan.reservation is None, row
        status = plan.status
        assert status.run is not None, row
        match verdict:
            case "rejected":
                assert (status.phase, status.reason) == (Phase.FAILED, Reason.REJECTED), row
                assert "nothing was paid" in (status.message or ""), row
            case "replaced":
                assert (status.run.number, status.phase, status.run.approval) == (2, Phase.PENDING, None), row
            case _:
                assert (status.phase, status.run.number) == (Phase.AWAITING_APPROVAL, 1), row
                assert status.run.approval is not None, row
                assert status.run.approval.verdict is None, row
    assert seen == {"goes on", "rejected", "replaced", "waits"}


def test_accepted_approval_survives_changed_annotations() -> None:
    given = ApprovalStatus(run=1, since=NOW, bound="999", verdict=Verdict.APPROVED, by="ann", at=NOW)
    run = first_run().model_copy(update={"approval": given})
    for annotations, spec in itertools.product(ANNOTATIONS.values(), (PRICED, EDITED)):
        body = resource(spec | {"approval": "Manual"}, status_of(run, Phase.SUBMITTING, Reason.SUBMITTING), annotations)
        assert gate.hold(gate.with_verdict(decision_input(body, NOW, DecisionSettings()))) is None


def test_a_namespace_that_cannot_be_read_requires_an_approval() -> None:
    case = decision_input(resource(PRICED), NOW, DecisionSettings())
    for problem in ("", "the namespace ns cannot be read"):
        observed = Observation(namespace_labels=NamespaceLabels(problem=problem))
        assert gate.is_required(case.observing(observed)) == bool(problem)
