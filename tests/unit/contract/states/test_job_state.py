"""State of a job: each phase and reason, its sentence, its actions, and what they pay."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from contentgen_contract.advice.job_facts import JobFacts
from contentgen_contract.advice.job_state import (
    AT_WORK,
    ENDED,
    WAITS,
    JobState,
    State,
    Tone,
    job_state,
    state_of_record,
    state_of_resource,
)
from contentgen_contract.advice.permitted_actions import Does, Right, permitted_actions, status_actions
from contentgen_contract.advice.remedies import REASONS, Costs
from contentgen_contract.annotations.approve_run import given_verdicts
from contentgen_contract.names import FINAL_PHASES, Phase, Reason
from contentgen_contract.resources.queue_position import QueuePosition
from contentgen_contract.resources.status import MAX_ACTIONS

ENDS = frozenset(Reason) - WAITS.keys() - frozenset(AT_WORK)
ALWAYS = ("edit", "share", "delete")
COST = {"estimated": "0.14", "currency": "USD", "display": "~$0.14"}
REQUEST = {"requestId": "0196-7a"}


def resource(
    phase: str | None,
    reason: str | None = None,
    run: dict[str, Any] | None = None,
    *,
    annotations: dict[str, str] | None = None,
    rerun: str | None = None,
    generation: int = 1,
    deleting: bool = False,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A resource of which run 1 is the last, unless `run` says another one."""
    metadata: dict[str, Any] = {"uid": "u", "name": "a", "namespace": "n", "generation": generation}
    metadata["annotations"] = named(annotations or {})
    if rerun is not None:
        metadata["annotations"]["contentgen.dev/rerun"] = rerun
    if deleting:
        metadata["deletionTimestamp"] = "2026-11-21T00:00:00Z"
    own = {"phase": phase, "reason": reason, "observedGeneration": 1, "progress": 50, "cost": COST}
    own["run"] = {"number": 1, "version": 1} | (run or {})
    return {"metadata": metadata, "spec": spec, "status": {} if phase is None else own | (status or {})}


def actions(found: JobState) -> dict[str, Costs]:
    return {action.does.value: action.costs for action in found.actions if action.does not in ALWAYS}


def named(annotations: dict[str, str]) -> dict[str, str]:
    return {f"contentgen.dev/{name}": value for name, value in annotations.items()}


APPROVED = {"approve": "1-0.28", "approved-by": "ann"}
MADE = {"versions": [{"version": 1}]}
WAITING = {"approval": {"amount": "0.28"}}
TOKEN = {"resubmitToken": "ab12"}
FREE, ONCE, PAYS, TWICE = Costs.FREE, Costs.ONCE, Costs.PAYS, Costs.MAY_PAY_TWICE

TABLE: dict[str, tuple[dict[str, Any], str, str, str, dict[str, Costs]]] = {
    "unread": (
        resource(None),
        "queued", "Queued", "The operator has not processed it yet.", {"cancel": FREE},
    ),
    "pending": (
        resource("Pending"),
        "queued", "Queued", "The run waits before its first step: for a LoRA, a store, or the operator.",
        {"cancel": FREE},
    ),
    "queued": (
        resource("Submitting", "Queued", status={"message": "all 4 places are taken"}),
        "queued", "Queued", "All 4 places are taken.", {"cancel": FREE},
    ),
    "queue-of-jobs": (resource("Preparing", "Queued"), "queued", "Queued", "", {"cancel": FREE}),
    "preparing": (
        resource("Preparing", "Preparing", status={"message": "the recording is being prepared"}),
        "running", "Running", "The recording is being prepared.", {"cancel": FREE},
    ),
    "suspended": (
        resource("Suspended", "Suspended", suspend=True),
        "paused", "Paused", "Nothing is started and nothing is paid until it is resumed.",
        {"resume": ONCE, "cancel": FREE},
    ),
    "resumed": (
        resource("Suspended", "Suspended"),
        "queued", "Resuming", "It was resumed, and continues soon.", {"cancel": FREE},
    ),
    "suspended-unread": (resource("Pending", suspend=True), "paused", "Paused", "", {"resume": ONCE, "cancel": FREE}),
    "suspended-with-store-fault": (
        resource("Suspended", "StoreUnavailable", suspend=True),
        "paused", "Paused", "", {"resume": ONCE, "cancel": FREE},
    ),
    "suspended-after-payment": (
        resource("Processing", "Processing", REQUEST, suspend=True),
        "running", "Running", "The provider works on the request.", {"resume": FREE, "cancel": FREE},
    ),
    "suspended-after-end": (
        resource("Completed", "Completed", REQUEST, status=MADE, suspend=True),
        "completed", "Completed", "The outputs are stored.", {"resume": FREE},
    ),
    "approval": (
        resource("AwaitingApproval", "AwaitingApproval", WAITING),
        "waiting-for-approval", "Waiting for approval",
        "A person with the right to approve must allow the payment of at most 0.28 USD; nothing is paid before.",
        {"approve": ONCE, "reject": FREE, "cancel": FREE},
    ),
    "approved": (
        resource("AwaitingApproval", "AwaitingApproval", WAITING, annotations=APPROVED),
        "queued", "Decided", "A person has decided on its approval; the run continues or ends soon.", {"cancel": FREE},
    ),
    "rejected-soon": (
        resource("AwaitingApproval", "AwaitingApproval", WAITING, annotations={"reject": "1", "approved-by": "ann"}),
        "queued", "Decided", "", {"cancel": FREE},
    ),
    "approved-another-price": (
        resource("AwaitingApproval", "AwaitingApproval", {"approval": {"amount": "0.30"}}, annotations=APPROVED),
        "waiting-for-approval", "Waiting for approval", "", {"approve": ONCE, "reject": FREE, "cancel": FREE},
    ),
    "approved-before-it-waited": (
        resource(
            "AwaitingApproval", "AwaitingApproval",
            {"approval": {"amount": "0.28", "lapsed": [given_verdicts(named(APPROVED))[0].digest]}},
            annotations=APPROVED,
        ),
        "waiting-for-approval", "Waiting for approval", "", {"approve": ONCE, "reject": FREE, "cancel": FREE},
    ),
    "approval-of-unknown-price": (
        resource("AwaitingApproval", "AwaitingApproval", {"approval": {"amount": "unknown"}}, status={"cost": None}),
        "waiting-for-approval", "Waiting for approval",
        "A person with the right to approve must allow the payment; nothing is paid before.",
        {"approve": ONCE, "reject": FREE, "cancel": FREE},
    ),
    "approval-without-price-yet": (
        resource("AwaitingApproval", "AwaitingApproval"),
        "waiting-for-approval", "Waiting for approval", "", {"cancel": FREE},
    ),
    "approval-suspended": (
        resource("AwaitingApproval", "AwaitingApproval", WAITING, suspend=True),
        "paused", "Paused", "", {"resume": ONCE, "cancel": FREE},
    ),
    "approval-of-unconfirmed-cluster": (
        resource("AwaitingApproval", "ClusterNotConfirmed", WAITING),
        "needs-person", "Cluster not confirmed", "", {"approve": ONCE, "reject": FREE, "cancel": FREE},
    ),
    "lora-in-training": (
        resource("Pending", "WaitingForLora", status={"message": "LoraTraining heads is at 63 %"}),
        "waiting-for-lora", "Waiting for LoRA", "LoraTraining heads is at 63 %.", {"cancel": FREE},
    ),
    "lora-failed": (resource("Pending", "LoraFailed"), "waiting-for-lora", "LoRA failed", "", {"cancel": FREE}),
    "budget": (
        resource("Pending", "BudgetExceeded"),
        "waiting", "Waiting for budget", REASONS[Reason.BUDGET_EXCEEDED].meaning, {"cancel": FREE},
    ),
    "results-not-stored": (
        resource("Pending", "CollectBacklog"),
        "waiting", "Waiting for results", REASONS[Reason.COLLECT_BACKLOG].meaning, {"cancel": FREE},
    ),
    "buying-paused": (resource("Pending", "BuyingPaused"), "needs-person", "Buying paused", "", {"cancel": FREE}),
    "provider": (
        resource("Processing", "ProviderUnavailable", REQUEST),
        "waiting", "Waiting for provider", "", {"cancel": FREE},
    ),
    "key": (
        resource("Pending", "ProviderNotConfigured"),
        "needs-person", "Provider key needed", "", {"cancel": FREE},
    ),
    "collecting": (resource("Collecting", "Collecting", REQUEST), "running", "Running", "", {}),
    "later-version": (
        resource("Processing", "Processing", REQUEST | {"number": 3, "version": 3}, status=MADE),
        "running-again", "Running again (version 3)", "The provider works on the request.", {"cancel": FREE},
    ),
    "lost-reply": (
        resource("SubmissionUnknown", "SubmissionUnknown", {"sentAt": "2026-11-21T00:00:00Z"} | TOKEN),
        "needs-person", "Payment unknown", "", {"resubmit": TWICE, "cancel": FREE},
    ),
    "lost-reply-searched": (
        resource("SubmissionUnknown", "LookingForRequest", {"sentAt": "2026-11-21T00:00:00Z"}),
        "waiting", "Looking for request", "", {"cancel": FREE},
    ),
    "stores": (
        resource("SubmissionUnknown", "StoresDisagree", TOKEN),
        "needs-person", "Stores disagree", "", {"resubmit": TWICE, "cancel": FREE},
    ),
    "completed": (
        resource("Completed", "Completed", REQUEST, status=MADE),
        "completed", "Completed", "The outputs are stored.", {"retry": PAYS},
    ),
    "completed-in-part": (
        resource(
            "Completed", "Completed", REQUEST,
            status={"versions": [{"version": 1, "facts": {"missing": [2]}}], "message": "1 of 2 pictures is stored"},
        ),
        "completed", "Completed", "1 of 2 pictures is stored.", {"collect": FREE, "retry": PAYS},
    ),
    "asked-again": (
        resource("Completed", "Completed", REQUEST, rerun="x", status=MADE),
        "running-again", "Running again (version 2)",
        "Another run is requested and begins soon.", {"cancel": FREE},
    ),
    "asked-again-after-failure": (
        resource("Failed", "JobFailed", rerun="x"),
        "running-again", "Running again (version 2)", "", {"cancel": FREE},
    ),
    "asked-again-while-suspended": (
        resource("Completed", "Completed", rerun="x", status=MADE, suspend=True),
        "paused", "Paused", "", {"resume": ONCE, "cancel": FREE},
    ),
    "annotation-removed": (
        resource("Completed", "Completed", REQUEST | {"rerun": "x"}, status=MADE),
        "completed", "Completed", "", {"retry": PAYS},
    ),
    "estimate-to-be-paid": (
        resource("Completed", "Estimated", generation=2),
        "running-again", "Running again (version 2)", "", {"cancel": FREE},
    ),
    "edit-unread": (
        resource("Completed", "Completed", REQUEST, generation=2, status=MADE),
        "completed", "Completed", "", {},
    ),
    "estimated": (
        resource("Completed", "Estimated", dryRun="Estimate"),
        "estimated", "Estimated", "The price of a run is about 0.14 USD; nothing was paid, and nothing was made.",
        {"pay": ONCE, "retry": FREE},
    ),
    "estimated-edit-unread": (
        resource("Completed", "Estimated", generation=2, dryRun="Estimate"), "estimated", "Estimated", "", {},
    ),
    "completed-then-dry": (
        resource("Completed", "Completed", REQUEST, status=MADE, dryRun="Estimate"),
        "completed", "Completed", "", {"retry": FREE},
    ),
    "failed-unpaid": (
        resource("Failed", "SourceUnreachable", status={"message": "spec.source.url: 404"}),
        "failed", "Failed", "spec.source.url: 404.", {"retry": ONCE},
    ),
    "failed-for-its-spec": (resource("Failed", "InsufficientFrames"), "failed", "Failed", "", {}),
    "failed-with-result": (
        resource("Failed", "OutputMissing", REQUEST, status={"stage": "Storing"}),
        "failed", "Failed", "", {"collect": FREE, "retry": PAYS},
    ),
    "fetched-again": (
        resource(
            "Failed", "OutputMissing", REQUEST, status={"stage": "Storing"}, annotations={"collect": "1"}
        ),
        "running", "Fetching again", "The paid result is fetched again soon; nothing is paid for it.", {},
    ),
    "fetched-again-before": (
        resource(
            "Failed", "OutputMissing", REQUEST | {"collect": {"asked": "1"}}, status={"stage": "Storing"},
            annotations={"collect": "1"},
        ),
        "failed", "Failed", "", {"collect": FREE, "retry": PAYS},
    ),
    "refused-edit": (resource("Failed", "InvalidSpec", status=MADE), "failed", "Failed", "", {}),
    "budget-ended": (resource("Failed", "BudgetExceeded"), "failed", "Failed", "", {"retry": ONCE}),
    "rejected": (resource("Failed", "Rejected"), "failed", "Rejected", "", {"retry": ONCE}),
    "cancelled": (resource("Failed", "Cancelled"), "cancelled", "Cancelled", "", {"retry": ONCE}),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_state(name: str) -> None:
    body, state, badge, sentence, does = TABLE[name]
    found = state_of_resource(body)
    assert (found.state.value, found.badge, actions(found)) == (state, badge, does)
    assert found.sentence == sentence or not sentence


def test_every_reason_has_a_state() -> None:
    """A new reason must be put into WAITS or AT_WORK, or be named here as the end of a run."""
    assert len(WAITS) + len(AT_WORK) + len(ENDS) == len(Reason)
    assert not WAITS.keys() & set(AT_WORK)
    assert {end.value for end in ENDS} == {
        "Completed", "AdoptedFinishedRun", "AdoptedSameRequest", "Estimated", "Rejected", "InvalidSpec",
        "ModelNotAllowed", "ProviderRefused", "ProviderFailed", "JobFailed", "DeadlineExceeded", "OutputMissing",
        "OutputChanged", "OutcomeInvalid", "OutputsDeleted", "Cancelled", "SourceNotAllowed", "SourceUnreachable",
        "SourceTooLarge", "SourceChecksumMismatch", "SourceEmpty", "UnsupportedMedia", "NoVideo", "NoAudio",
        "InsufficientFrames", "ResultUnreachable", "ResultInvalid",
    }  # fmt: skip


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("suspended", [True, False])
def test_every_phase_and_reason_has_words(phase: Phase, suspended: bool) -> None:
    for reason in (*Reason, None):
        check_words(phase, job_state(JobFacts(phase=phase, reason=reason, ended=phase.terminal, suspended=suspended)))


def check_words(phase: Phase, found: JobState) -> None:
    assert found.badge
    assert found.sentence.endswith(".")
    assert found.ended == (phase in FINAL_PHASES)
    assert found.ended <= (found.progress in (None, 100))
    assert not (found.needs_person and found.at_work)
    if found.needs_person:
        assert found.tone is Tone.ATTENTION


def test_a_wait_for_a_person_is_not_at_work() -> None:
    for reason in (Reason.AWAITING_APPROVAL, Reason.SUSPENDED, Reason.SUBMISSION_UNKNOWN):
        phase = Phase(reason.value)
        found = job_state(JobFacts(phase=phase, reason=reason, progress=50))
        assert (found.at_work, found.needs_person, found.expected) == (False, True, None)


def test_rights_and_payments_of_actions() -> None:
    found = state_of_resource(resource("Completed", "Estimated", dryRun="Estimate"))
    given = {action.does: (action.rights, action.pays) for action in found.actions}
    assert given == {
        Does.PAY: ((Right.PATCH, Right.SPEND), True),
        Does.RETRY: ((Right.PATCH, Right.SPEND), False),
        Does.EDIT: ((Right.PATCH,), False),
        Does.SHARE: ((Right.PATCH,), False),
        Does.DELETE: ((Right.PATCH, Right.DELETE), False),
    }


@pytest.mark.parametrize("name", TABLE)
def test_a_deletion_is_the_state_of_any_job(name: str) -> None:
    body = TABLE[name][0]
    body |= {"metadata": body["metadata"] | {"deletionTimestamp": "2026-11-21T00:00:00Z"}}
    found = state_of_resource(body, QueuePosition("fal", 2, 3))
    assert (found.state, found.badge, found.sentence) == (State.DELETING, "Deleting", "It is being deleted.")
    assert (found.needs_person, found.progress, found.expected, found.at_work, found.ended) == (
        False, None, None, False, False,
    )  # fmt: skip
    assert found.actions == ()
    assert status_actions(JobFacts.of_resource(body)) == ()
    record = {"status": "completed", "phase": "Completed", "reason": "Completed", "deleting": True}
    assert (state_of_record(record).state, state_of_record(record).actions) == (State.DELETING, ())


@pytest.mark.parametrize("name", TABLE)
def test_actions_of_the_status_are_those_on_runs(name: str) -> None:
    facts = JobFacts.of_resource(TABLE[name][0])
    written = {action.verb: (action.rights, action.pays) for action in status_actions(facts)}
    permitted = {
        action.does: (action.rights, action.pays) for action in permitted_actions(facts) if action.does not in ALWAYS
    }
    assert written == permitted
    assert len(permitted) <= MAX_ACTIONS


WAITS_FOR_APPROVAL = resource("AwaitingApproval", "AwaitingApproval", WAITING)
VALUES: dict[str, tuple[dict[str, Any], dict[str, str | None]]] = {
    "approval": (WAITS_FOR_APPROVAL, {"approve": "1-0.28", "reject": "1", "cancel": "1"}),
    "lapsed": (
        resource("AwaitingApproval", "AwaitingApproval", WAITING, annotations={"approve": "1-0.28", "reject": "1-7"}),
        {"approve": "1-0.28-2", "reject": "1-8", "cancel": "1"},
    ),
    "lost-reply": (resource("SubmissionUnknown", "SubmissionUnknown", TOKEN), {"resubmit": "ab12", "cancel": "1"}),
    "failed": (
        resource("Failed", "JobFailed", REQUEST, status={"stage": "Storing"}), {"collect": "1", "retry": None},
    ),
    "fetched-before": (
        resource("Failed", "JobFailed", REQUEST | {"collect": {"asked": "1"}}, status={"stage": "Storing"}),
        {"collect": "1-2", "retry": None},
    ),
    "suspended": (resource("Suspended", "Suspended", suspend=True), {"resume": None, "cancel": "1"}),
    "estimated": (resource("Completed", "Estimated", dryRun="Estimate"), {"pay": None, "retry": None}),
    "asked-again": (resource("Completed", "Completed", REQUEST, status=MADE, rerun="x"), {"cancel": "2"}),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_actions_of_the_status_have_values_that_have_an_effect(name: str) -> None:
    body, expected = VALUES[name]
    written = status_actions(JobFacts.of_resource(body))
    assert {each.verb: each.value for each in written} == expected
    annotations = {"retry": "rerun", "resume": None, "pay": None}
    for each in written:
        named = annotations.get(each.verb, each.verb)
        assert each.annotation == (f"contentgen.dev/{named}" if named is not None else None)


def test_position_in_the_queue() -> None:
    found = state_of_resource(resource("Submitting", "Queued"), QueuePosition(2, 5, "fal"))
    assert found.sentence == "It waits for its turn: position 2 of 5 in this namespace's queue for fal."


RECORDS = {
    "completed": ({"status": "completed", "phase": "Completed", "reason": "Completed", "progress": 100}, "completed"),
    "estimated": ({"status": "cancelled", "phase": "Completed", "reason": "Estimated"}, "estimated"),
    "deleted-during-its-run": ({"status": "cancelled", "phase": "Suspended", "reason": "Suspended"}, "cancelled"),
    "imported": ({"status": "completed"}, "completed"),
    "imported-failure": ({"status": "failed", "error": "no frames"}, "failed"),
    "imported-end": ({"status": "cancelled"}, "cancelled"),
    "phase-of-another-release": ({"status": "processing", "phase": "Polishing"}, "running"),
    "approval": ({"status": "processing", "phase": "AwaitingApproval", "reason": "AwaitingApproval"},
                 "waiting-for-approval"),
    "version-3": ({"status": "processing", "phase": "Processing", "runVersion": 3}, "running-again"),
    "new": ({"status": "queued"}, "queued"),
    "asked-again": ({"status": "completed", "phase": "Completed", "requested": "run"}, "running-again"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_state_of_a_record(name: str) -> None:
    record, expected = RECORDS[name]
    found = state_of_record(record)
    assert found.state.value == expected
    assert [action.does.value for action in found.actions] == list(ALWAYS)
    assert json.dumps(found.sentence)


def test_hostile_fields_of_a_record() -> None:
    found = state_of_record({"phase": {"$ne": 1}, "reason": ["x"], "progress": "9", "cost": "free", "runVersion": "2"})
    assert (found.state, found.progress, found.cost) == (State.QUEUED, None, "")
    assert found.state not in ENDED


HOSTILE = (None, True, 0, -1, 1.5, "", "x", [], [None], {}, {"$ne": 1})
"""Values that another user may have written."""


def variants(value: Any) -> Iterator[Any]:
    """The value with a hostile one in each place."""
    yield from HOSTILE
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from (value | {name: variant} for variant in variants(inner))


@pytest.mark.parametrize("name", TABLE)
def test_hostile_fields_of_a_resource(name: str) -> None:
    body = TABLE[name][0]
    for part in ("metadata", "spec", "status"):
        for value in variants(body[part]):
            assert state_of_resource(body | {part: value}).badge
