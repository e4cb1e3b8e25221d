"""Actions that the state of a job permits, with the rights that they need and the payment that they cause. Pure.

An action that is not listed here would be refused, or would not help. Rights are decided by Kubernetes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from contentgen_contract.advice import guidance
from contentgen_contract.advice.job_facts import JobFacts, UserRequest
from contentgen_contract.advice.remedies import Action, Costs
from contentgen_contract.annotations.approve_run import unused_value
from contentgen_contract.annotations.cancel_run import CannotCancel, run_to_cancel
from contentgen_contract.names import (
    APPROVE_ANNOTATION,
    CANCEL_ANNOTATION,
    COLLECT_ANNOTATION,
    REJECT_ANNOTATION,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Phase,
    Reason,
)
from contentgen_contract.resources.status import ActionStatus


class Does(StrEnum):
    """Name of an action, as in the paths of the API and the commands of the plugin."""

    APPROVE = "approve"
    REJECT = "reject"
    RESUME = "resume"
    CANCEL = "cancel"
    COLLECT = "collect"  # fetch the paid result once more
    PAY = "pay"  # start the run that was estimated
    RETRY = "retry"  # another run of the same inputs
    RESUBMIT = "resubmit"  # another payment for a request whose reply was lost
    EDIT = "edit"
    SHARE = "share"
    DELETE = "delete"


class Right(StrEnum):
    """Verb of an RBAC rule on the resource."""

    PATCH = "patch"
    SPEND = "spend"
    APPROVE = "approve"
    DELETE = "delete"


_RIGHTS = {
    Does.APPROVE: (Right.PATCH, Right.APPROVE),
    Does.REJECT: (Right.PATCH, Right.APPROVE),
    Does.PAY: (Right.PATCH, Right.SPEND),
    Does.RETRY: (Right.PATCH, Right.SPEND),
    Does.RESUBMIT: (Right.PATCH, Right.SPEND),
    Does.DELETE: (Right.PATCH, Right.DELETE),
}
_ANNOTATIONS = {
    Does.APPROVE: APPROVE_ANNOTATION,
    Does.REJECT: REJECT_ANNOTATION,
    Does.CANCEL: CANCEL_ANNOTATION,
    Does.COLLECT: COLLECT_ANNOTATION,
    Does.RETRY: RERUN_ANNOTATION,
    Does.RESUBMIT: RESUBMIT_ANNOTATION,
}


@dataclass(frozen=True, slots=True)
class PermittedAction:
    """Action, and the payment that it causes or lets happen."""

    does: Does
    costs: Costs = Costs.FREE

    @property
    def pays(self) -> bool:
        """True if a payment follows."""
        return self.costs is not Costs.FREE

    @property
    def rights(self) -> tuple[Right, ...]:
        """Verbs that it needs, all of them."""
        return _RIGHTS.get(self.does, (Right.PATCH,))


def permitted_actions(facts: JobFacts) -> tuple[PermittedAction, ...]:
    """Actions that the state permits; none for a resource that is being deleted."""
    if facts.deleting:
        return ()
    on_runs = tuple(_on_runs(facts)) if facts.has_resource else ()
    return (*on_runs, PermittedAction(Does.EDIT), PermittedAction(Does.SHARE), PermittedAction(Does.DELETE))


def status_actions(facts: JobFacts) -> tuple[ActionStatus, ...]:
    """Permitted actions on the runs, for `status.actions`; none for a resource that is being deleted."""
    return tuple(
        ActionStatus(
            verb=action.does,
            annotation=_ANNOTATIONS.get(action.does),
            value=_value(action.does, facts),
            rights=tuple(action.rights),
            pays=action.pays,
        )
        for action in (() if facts.deleting else _on_runs(facts))
    )


def _value(does: Does, facts: JobFacts) -> str | None:
    """Value of the action's annotation that has an effect now; None: any new one, or the action has no annotation."""
    match does:
        case Does.APPROVE:
            return unused_value(f"{facts.paid.number}-{facts.amount}", facts.approve)
        case Does.REJECT:
            return unused_value(str(facts.paid.number), facts.reject)
        case Does.CANCEL:
            return str(_run_to_cancel(facts))
        case Does.COLLECT:
            return guidance.collect_value(facts.paid)
        case Does.RESUBMIT:
            return facts.paid.token
    return None


def _on_runs(facts: JobFacts) -> Iterator[PermittedAction]:
    if facts.suspended:
        pays = facts.request is UserRequest.RUN or not (facts.ended or facts.paid.sent)
        yield PermittedAction(Does.RESUME, Costs.ONCE if pays else Costs.FREE)
    elif facts.phase is Phase.AWAITING_APPROVAL and facts.amount is not None and facts.request is None:
        yield PermittedAction(Does.APPROVE, Costs.ONCE)
        yield PermittedAction(Does.REJECT)
    if facts.request is None and _has_result(facts.paid):
        yield PermittedAction(Does.COLLECT)
    if facts.paid.token is not None:
        yield PermittedAction(Does.RESUBMIT, Costs.MAY_PAY_TWICE)
    yield from _another_run(facts)
    if _run_to_cancel(facts) is not None:
        yield PermittedAction(Does.CANCEL)


def _another_run(facts: JobFacts) -> Iterator[PermittedAction]:
    """Another run; none while a request is open, or an edit that may start one is unread."""
    if not facts.ended or facts.suspended or facts.request is not None or facts.unread:
        return
    if facts.reason is Reason.ESTIMATED and facts.estimates:
        yield PermittedAction(Does.PAY, Costs.ONCE)
    again = guidance.find_remedy(facts.paid, Action.RERUN)
    if facts.estimates and (again is not None or facts.phase is Phase.COMPLETED):
        yield PermittedAction(Does.RETRY)
    elif again is not None and facts.reason is not Reason.INVALID_SPEC:
        yield PermittedAction(Does.RETRY, again.costs)


def _has_result(paid: guidance.Facts) -> bool:
    """True if collecting the paid result once more may help."""
    helps = any(remedy.action in (Action.COLLECT, Action.RESTORE) for remedy in guidance.applicable_remedies(paid))
    return (helps or paid.incomplete) and not guidance.collect_obstacle(paid)


def _run_to_cancel(facts: JobFacts) -> int | None:
    """Number of the run that a cancellation names; None: it is too late, or none is under way."""
    asked_again = facts.request is UserRequest.RUN
    try:
        return run_to_cancel(facts.phase, facts.reason, facts.paid.number, asked_again=asked_again)
    except CannotCancel:
        return None
