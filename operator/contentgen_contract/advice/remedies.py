"""Advice for one resource: selects the remedies of `reasons.REASONS` by its status, and formats them. Pure.

The facts are fields of the status, not its message. The one exception is the token of contentgen.dev/resubmit, which
only the message has.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from contentgen_contract.advice.reasons import REASONS, Action, Costs, Explanation, Paid, Remedy, When, sentences
from contentgen_contract.annotations import collect_again
from contentgen_contract.names import (
    ADOPT_ANNOTATION,
    COLLECT_ANNOTATION,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Phase,
    Reason,
    Step,
)
from contentgen_contract.resources.status import MAX_MESSAGE

_TOKEN = re.compile(rf"{re.escape(RESUBMIT_ANNOTATION)}=([0-9a-f]{{1,64}})\b", re.ASCII)
_MAY_HAVE_RESULT = (Reason.DEADLINE_EXCEEDED, Reason.CANCELLED)  # ends of a run before its collect stage


@dataclass(frozen=True, slots=True)
class Facts:
    """The fields of a status on which advice depends."""

    reason: Reason | None = None
    phase: str | None = None
    number: int = 0  # of the run; 0 before the first
    request_id: str | None = None
    sent: bool = False  # whether a request was sent, or may have been
    open: bool = False  # whether it may still finish, although the run has ended
    billed: bool | None = None
    storing: bool = False  # whether the run got to its collect stage
    edit_refused: bool = False  # the reason is of an edit that started no run
    asked: str | None = None  # value of contentgen.dev/collect that was carried out last
    token: str | None = None  # value of contentgen.dev/resubmit that allows another payment

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> Self:
        """Facts of a status (JSON)."""
        run: Mapping[str, Any] = status.get("run") or {}
        reason, phase = status.get("reason"), status.get("phase")
        known = Reason(reason) if reason in list(Reason) else None
        versions = {each.get("version") for each in status.get("versions") or ()}
        made = run.get("version") in versions and bool(versions)
        return cls(
            reason=known,
            phase=phase,
            number=run.get("number") or 0,
            request_id=run.get("requestId"),
            sent=bool(run.get("requestId") or run.get("sentAt")),
            open=run.get("requestOpen") is True,
            billed=run.get("billed"),
            storing=status.get("stage") == Step.STORING,
            edit_refused=known is Reason.INVALID_SPEC and phase == Phase.FAILED
            and (made or not status.get("completionTime")),
            asked=(run.get("collect") or {}).get("asked"),
            token=resubmit_token(phase, status.get("message")),
        )  # fmt: skip


def resubmit_token(phase: str | None, message: str | None) -> str | None:
    """The token by which a person allows another payment; None where none waits for it.

    The operator names it at the end of its message, after the words of others.
    """
    if phase != Phase.SUBMISSION_UNKNOWN:
        return None
    found = _TOKEN.findall(message or "")
    return str(found[-1]) if found else None


def has_result(facts: Facts) -> bool:
    """Whether the provider's answer is stored, as far as the status tells."""
    if facts.request_id is None or facts.phase != Phase.FAILED or facts.edit_refused:
        return False
    if facts.reason in _MAY_HAVE_RESULT and facts.billed is True and not facts.open:
        return True  # it finished after the end of the run
    return facts.storing or facts.reason is Reason.RESULT_UNREACHABLE


def payment_state(facts: Facts) -> Paid:
    """Payment state of a resource's run."""
    said = REASONS[facts.reason].paid if facts.reason is not None else Paid.BY_STAGE
    if facts.edit_refused:
        return Paid.NOTHING
    if said is Paid.BY_STAGE or (said is Paid.BILLED and not facts.request_id):
        return Paid.PAID if facts.request_id else Paid.UNKNOWN if facts.sent else Paid.NOTHING
    return Paid.PAID if said is Paid.NOTHING and facts.request_id and facts.reason not in _PAID_ELSEWHERE else said


_PAID_ELSEWHERE = (Reason.ADOPTED_FINISHED_RUN,)  # the request was paid by another resource


def explanation(facts: Facts) -> Explanation | None:
    """The row of the table; None for a reason of another release."""
    return REASONS[facts.reason] if facts.reason is not None else None


def applicable_remedies(facts: Facts) -> tuple[Remedy, ...]:
    """The remedies that apply, in their order: what is free comes first."""
    if facts.reason is None:
        return ()
    return tuple(each for each in REASONS[facts.reason].remedies if _applies(each, facts))


def _applies(remedy: Remedy, facts: Facts) -> bool:
    sent, known = facts.sent and not facts.edit_refused, facts.request_id is not None
    return {
        When.ALWAYS: True,
        When.UNSENT: not sent,
        When.ENDED: not sent and not facts.edit_refused,
        When.SENT: sent,
        When.LOST: sent and not known,
        When.KNOWN: sent and known,
        When.RESULT: has_result(facts),
        When.OPEN: facts.open and known,
    }[remedy.when]


def find_remedy(facts: Facts, action: Action) -> Remedy | None:
    """The remedy of this kind that applies; None: it does not help."""
    return next((each for each in applicable_remedies(facts) if each.action is action), None)


def collect_value(facts: Facts) -> str:
    """The value of contentgen.dev/collect that asks next: each value asks once."""
    return collect_again.next_value(facts.number, facts.asked)


def advice_lines(facts: Facts, name: str = "NAME") -> tuple[str, ...]:
    """Remedies that apply to a resource with their costs, a sentence each. `name`: the resource's, in commands."""
    row = explanation(facts)
    if row is None:
        return ()
    return tuple(
        each.replace("NAME", name) for each in sentences(row.where_to_look, _with_costs(applicable_remedies(facts)))
    )


def free_advice_lines(facts: Facts, name: str = "NAME") -> tuple[str, ...]:
    """Remedies that apply and pay nothing, a sentence each."""
    free = [each for each in applicable_remedies(facts) if each.costs is Costs.FREE and each.action is not Action.NONE]
    return tuple(each.replace("NAME", name) for each in sentences("", _with_costs(free)))


def _with_costs(remedies: Iterable[Remedy]) -> Iterable[tuple[str, str]]:
    return ((each.sentence, each.costs.value) for each in remedies)


def collect_obstacle(facts: Facts) -> str:
    """Why the last run has no paid result to fetch; empty where it may have one."""
    if facts.phase != Phase.FAILED:
        return f"it is {facts.phase or 'not started'}: only the result of a failed run is fetched again"
    if facts.edit_refused:
        return "its spec was refused, which started no run: there is no result to fetch; correct the spec"
    if facts.request_id is not None:
        return ""
    if facts.sent:
        return "the reply to the paid request was lost, and no request is known yet: there is no result to fetch"
    return "nothing was paid for the run that has failed: there is no result to fetch"


# What messages say


def cost_clause(costs: Costs) -> str:
    """The cost as a relative clause."""
    return f"which {costs.value}"


def collect_advice(number: int, asked: str | None, what: str) -> str:
    """The free retry of the collect stage of a run, and what another run costs."""
    value = collect_again.next_value(number, asked)
    return f"the annotation {COLLECT_ANNOTATION}={value} fetches {what}, {cost_clause(Costs.FREE)}; {rerun_advice()}"


def rerun_advice() -> str:
    """Another run after a payment."""
    return f"the annotation {RERUN_ANNOTATION} with a new value {Costs.PAYS.value}"


def adopt_advice(request_id: str | None = None) -> str:
    """The request is named."""
    named = request_id or "<request id>"
    return f"name the request with the annotation {ADOPT_ANNOTATION}={named}, {cost_clause(Costs.FREE)}"


def join_message(message: str, advice: str) -> str:
    """The message, in which the words of others leave room for what helps, and name no token: the admission policy
    and older plugins take the first one.
    """
    return message.replace(f"{RESUBMIT_ANNOTATION}=", f"{RESUBMIT_ANNOTATION} ")[: MAX_MESSAGE - len(advice)] + advice


def resubmit_advice(token: str) -> str:
    """Another payment is allowed. Nothing follows it in a message: see `resubmit_token`."""
    return f"allow another payment with the annotation {RESUBMIT_ANNOTATION}={token}"
