"""Lifecycles of a purchase and of a run: every transition, with its cause. Pure.

docs/lifecycle.md is generated from these tables. The rehearsal (`make rehearse`) fails if the operator makes a
transition that is not in them.
"""

from collections.abc import Iterable
from functools import cache

from contentgen_contract.base import Value
from contentgen_contract.names import Phase
from contentgen_contract.records.ledger import PurchaseState, SendState

NONE = "none"
"""Node of a purchase or a run that does not exist."""


class LifecycleTransition(Value):
    """Edge of a diagram between two nodes."""

    source: str
    target: str
    cause: str


def purchase_node(state: str, send_state: str | None = None) -> str:
    """Node of a purchase: its send state in the state `intent`, else its state. Raises ValueError."""
    known = PurchaseState(state)
    return str(SendState(send_state or "") if known is PurchaseState.INTENT else known)


def _edges(*given: tuple[str, str, str]) -> tuple[LifecycleTransition, ...]:
    return tuple(
        LifecycleTransition(source=str(source), target=str(target), cause=cause) for source, target, cause in given
    )


_PLANNED, _SENDING, _ABANDONED = SendState.PLANNED, SendState.SENDING, SendState.ABANDONED
_REFUSED, _SUBMITTED, _SUCCEEDED = PurchaseState.REFUSED, PurchaseState.SUBMITTED, PurchaseState.SUCCEEDED
_FAILED, _COLLECTED = PurchaseState.FAILED, PurchaseState.COLLECTED
_CANCELLED, _DISCARDED = PurchaseState.CANCELLED, PurchaseState.DISCARDED

PURCHASE_TRANSITIONS = _edges(
    (NONE, _PLANNED, "a run plans its purchase"),
    (_PLANNED, _SENDING, "the connection is open; the one POST follows"),
    (_SENDING, _SUBMITTED, "the provider has accepted it, or its history shows it"),
    (_SUBMITTED, _SUCCEEDED, "the provider's response is stored"),
    (_SUCCEEDED, _COLLECTED, "the files are stored and checked"),
    (_PLANNED, _REFUSED, "the run ends before it is sent, or the provider cannot be reached"),
    (_SENDING, _REFUSED, "the provider has not accepted it"),
    (_REFUSED, _PLANNED, "planned again, by this resource or another one"),
    (_SENDING, _PLANNED, "no byte was sent"),
    (_SENDING, _ABANDONED, "a person resubmits"),
    (_ABANDONED, _SUBMITTED, "the provider's history shows it after all"),
    (_SUBMITTED, _FAILED, "the provider reports a failure"),
    (_SUBMITTED, _CANCELLED, "the provider confirms the cancellation"),
    (_COLLECTED, _SUCCEEDED, "its files are gone, or some are missing; it is collected again"),
    (_SUCCEEDED, _DISCARDED, "deletionPolicy Delete, or the end of an orphan's retention"),
    (_COLLECTED, _DISCARDED, "deletionPolicy Delete"),
    (_PLANNED, NONE, "there is evidence of an earlier purchase, or the process has lost the Lease"),
)
"""Transitions of a purchase in the ledger."""

RESTORED_TRANSITIONS = _edges(
    (NONE, _SENDING, "the resource is deleted, and only its status names the purchase"),
    (NONE, _SUBMITTED, "a person adopts the request, or the resource is deleted"),
    (NONE, _ABANDONED, "a person resubmits"),
    (_PLANNED, _SUBMITTED, "a person adopts the request"),
    (_PLANNED, _ABANDONED, "a person resubmits"),
    (_REFUSED, _SUBMITTED, "a person adopts the request"),
    (_REFUSED, _ABANDONED, "a person resubmits"),
)
"""Further transitions if the ledger was restored from a backup and the status or the bucket is newer."""

PHASE_ORDER = (
    Phase.PENDING, Phase.PREPARING, Phase.AWAITING_APPROVAL, Phase.SUBMITTING, Phase.SUBMISSION_UNKNOWN,
    Phase.PROCESSING, Phase.COLLECTING, Phase.COMPLETED, Phase.FAILED,
)  # fmt: skip
"""Phases of one run and paid attempt in the order in which they follow; some may be left out."""

BEFORE_PAYMENT = (Phase.PENDING, Phase.PREPARING, Phase.AWAITING_APPROVAL, Phase.SUBMITTING)
"""Phases in which a run can be suspended."""

PHASE_TRANSITIONS = _edges(
    (NONE, Phase.PENDING, "an image waits for its LoRAs"),
    (NONE, Phase.PREPARING, "a training or a transcription"),
    (NONE, Phase.SUBMITTING, "an image"),
    (NONE, Phase.AWAITING_APPROVAL, "an image that needs an approval"),
    (Phase.PENDING, Phase.SUBMITTING, "the LoRAs are trained"),
    (Phase.PENDING, Phase.PREPARING, "the wait is over"),
    (Phase.PENDING, Phase.AWAITING_APPROVAL, "the LoRAs are trained; an approval is needed"),
    (Phase.PREPARING, Phase.SUBMITTING, "the input is stored"),
    (Phase.PREPARING, Phase.AWAITING_APPROVAL, "the input is stored; an approval is needed"),
    (Phase.PREPARING, Phase.COMPLETED, "dryRun: the price is known"),
    (Phase.AWAITING_APPROVAL, Phase.SUBMITTING, "approved"),
    (Phase.AWAITING_APPROVAL, Phase.FAILED, "rejected, cancelled, or its deadline"),
    (Phase.SUBMITTING, Phase.PROCESSING, "the provider has accepted the request"),
    (Phase.SUBMITTING, Phase.SUBMISSION_UNKNOWN, "the reply was lost and the request is not found"),
    (Phase.SUBMISSION_UNKNOWN, Phase.PROCESSING, "the request is found or adopted"),
    (Phase.PROCESSING, Phase.COLLECTING, "the provider has finished"),
    (Phase.COLLECTING, Phase.COMPLETED, "the files are stored"),
    (Phase.PENDING, Phase.FAILED, "cancelled, or its deadline"),
    (Phase.PREPARING, Phase.FAILED, "invalid input, cancelled, or its deadline"),
    (Phase.SUBMITTING, Phase.FAILED, "refused, cancelled, or its deadline"),
    (Phase.PROCESSING, Phase.FAILED, "failed, cancelled, or its deadline"),
    (Phase.COLLECTING, Phase.FAILED, "the result is invalid"),
)
"""Usual transitions of a run within one paid attempt."""

PHASE_PAUSES = _edges(
    (Phase.SUBMITTING, Phase.AWAITING_APPROVAL, "it waited, such as for a key; now an approval is needed"),
    *((phase, Phase.SUSPENDED, "spec.suspend") for phase in BEFORE_PAYMENT),
    *((Phase.SUSPENDED, phase, "resumed") for phase in BEFORE_PAYMENT),
)
"""Transitions before the payment by which a run may return to an earlier phase, any number of times."""

PHASE_RETURNS = _edges(
    (Phase.SUBMISSION_UNKNOWN, Phase.SUBMITTING, "resubmit: the next paid attempt"),
    (Phase.PROCESSING, Phase.SUBMITTING, "the provider has failed: the next paid attempt"),
    (Phase.FAILED, Phase.COLLECTING, "contentgen.dev/collect"),
    (Phase.COMPLETED, Phase.COLLECTING, "contentgen.dev/collect, where outputs are missing"),
    (Phase.COMPLETED, Phase.PREPARING, "a new run: the spec was changed, or a rerun"),
    (Phase.FAILED, Phase.PREPARING, "a new run: the spec was changed, or a rerun"),
    (Phase.AWAITING_APPROVAL, Phase.PREPARING, "a new run: the spec was changed"),
)
"""Transitions that a person's answer causes once, or that begin another paid attempt or run."""


@cache
def can_follow(before: str, after: str) -> bool:
    """Whether a phase can follow another one within a paid attempt, without a person's answer: by a pause, or by usual
    transitions, of which phases may be left out, as by a run that adopts a finished purchase."""
    pauses = {(pause.source, pause.target) for pause in PHASE_PAUSES}
    resumed = BEFORE_PAYMENT if before == Phase.SUSPENDED else (before,)
    usual = (_reachable(each, PHASE_TRANSITIONS) for each in resumed)
    return before == after or (before, after) in pauses or any(after in each for each in usual)


def _reachable(node: str, transitions: Iterable[LifecycleTransition]) -> set[str]:
    """Nodes that some transitions lead to, one after the other."""
    known = tuple(transitions)
    found, fresh = set[str](), {node}
    while fresh:
        fresh = {each.target for each in known if each.source in fresh} - found
        found |= fresh
    return found
