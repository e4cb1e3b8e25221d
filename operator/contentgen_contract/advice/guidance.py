"""Advice for one resource: selects remedies of `remedies.REASONS` by fields of its status, and formats them. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from contentgen_contract.advice.remedies import REASONS, Action, Costs, Explanation, Paid, Remedy, When, sentences
from contentgen_contract.annotations import collect_again
from contentgen_contract.names import (
    ADOPT_ANNOTATION,
    COLLECT_ANNOTATION,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Phase,
    Reason,
    Stage,
    Step,
)
from contentgen_contract.resources.status import MAX_MESSAGE

_MAY_HAVE_RESULT = (Reason.DEADLINE_EXCEEDED, Reason.CANCELLED)  # ends of a run before its collect stage


@dataclass(frozen=True, slots=True)
class Facts:
    """Fields of a status that determine the advice."""

    reason: Reason | None = None
    phase: str | None = None
    number: int = 0  # of the run; 0 before the first
    attempt: int = 1  # paid attempt of the run; a later one has the fields of its own request only
    request_id: str | None = None
    sent: bool = False  # a request was, or may have been, sent
    open: bool = False  # the request may still finish after the end of the run
    billed: bool | None = None
    storing: bool = False  # the run reached its collect stage
    edit_refused: bool = False  # the reason is about an edit that started no run
    incomplete: bool = False  # a completed run misses outputs of the provider's answer
    asked: str | None = None  # value of contentgen.dev/collect that was executed last
    too_slow: bool = False  # no preparation has succeeded, and the last attempt has the log of a worker that has ended
    token: str | None = None  # value of contentgen.dev/resubmit that allows another payment

    @classmethod
    def parse(cls, status: Mapping[str, Any]) -> Self:
        """Facts of a status (JSON)."""
        run: Mapping[str, Any] = status.get("run") or {}
        reason, phase = status.get("reason"), status.get("phase")
        known = Reason(reason) if reason in list(Reason) else None
        versions = {version.get("version") for version in status.get("versions") or ()}
        made = run.get("version") in versions and bool(versions)
        return cls(
            reason=known,
            phase=phase,
            number=_count(run.get("number"), 0),
            attempt=_count(run.get("paidAttempt"), 1),
            request_id=run.get("requestId"),
            sent=bool(run.get("requestId") or run.get("sentAt")),
            open=run.get("requestOpen") is True,
            billed=run.get("billed"),
            storing=status.get("stage") == Step.STORING,
            edit_refused=known is Reason.INVALID_SPEC and phase == Phase.FAILED
            and (made or not status.get("completionTime")),
            incomplete=collect_again.misses_outputs(status),
            asked=(run.get("collect") or {}).get("asked"),
            too_slow=_is_unprepared_after_work(run),
            token=resubmit_token(phase, run.get("resubmitToken")),
        )  # fmt: skip


def _is_unprepared_after_work(run: Mapping[str, Any]) -> bool:
    last = (Stage.PREPARE, run.get("stageAttempt") or 1)
    return run.get("facts") is None and any(
        (log.get("stage"), log.get("attempt")) == last for log in run.get("logs") or ()
    )


def _count(given: object, absent: int) -> int:
    return given if isinstance(given, int) and given > 0 else absent


def resubmit_token(phase: object, token: object) -> str | None:
    """The token of `status.run` while a purchase waits for another payment; None in any other phase."""
    return token if phase == Phase.SUBMISSION_UNKNOWN and isinstance(token, str) else None


def has_result(facts: Facts) -> bool:
    """True if the provider's response is stored, as far as the status shows."""
    if facts.request_id is None or facts.phase != Phase.FAILED or facts.edit_refused:
        return False
    if facts.reason in _MAY_HAVE_RESULT and facts.billed is True and not facts.open:
        return True  # it finished after the end of the run
    return facts.storing or facts.reason is Reason.RESULT_UNREACHABLE


def payment_state(facts: Facts) -> Paid:
    """Payment state of the last run, with its earlier attempts."""
    if facts.edit_refused:
        return Paid.NOTHING
    said = _attempt_payment_state(facts)
    return earlier_payment_state(facts) if said is Paid.NOTHING else said


def earlier_payment_state(facts: Facts) -> Paid:
    """Payment state of a run whose current attempt has sent nothing: PAID or UNKNOWN by its earlier attempts.

    status.run names no request of them. They have failed at the provider, or their replies were lost.
    """
    if facts.billed is True:
        return Paid.PAID
    later = facts.attempt > 1 and facts.billed is None
    return Paid.UNKNOWN if facts.open or later else Paid.NOTHING


def _attempt_payment_state(facts: Facts) -> Paid:
    """Payment state of the current attempt."""
    said = REASONS[facts.reason].paid if facts.reason is not None else Paid.BY_STAGE
    if said is Paid.BY_STAGE or (said is Paid.BILLED and not facts.request_id):
        return Paid.PAID if facts.request_id else Paid.UNKNOWN if facts.sent else Paid.NOTHING
    return Paid.PAID if said is Paid.NOTHING and facts.request_id and facts.reason not in _PAID_ELSEWHERE else said


# The request was paid by another resource, or by an earlier run.
_PAID_ELSEWHERE = (Reason.ADOPTED_FINISHED_RUN, Reason.ADOPTED_SAME_REQUEST)


def explanation(facts: Facts) -> Explanation | None:
    """The explanation; None for a reason of another release."""
    return REASONS[facts.reason] if facts.reason is not None else None


def applicable_remedies(facts: Facts) -> tuple[Remedy, ...]:
    """Remedies that apply, free ones first, with their costs after earlier attempts of the run."""
    if facts.reason is None:
        return ()
    return tuple(_with_earlier(remedy, facts) for remedy in REASONS[facts.reason].remedies if _applies(remedy, facts))


def _with_earlier(remedy: Remedy, facts: Facts) -> Remedy:
    if remedy.costs is not Costs.ONCE or facts.edit_refused:
        return remedy
    earlier = earlier_payment_state(facts)
    if earlier is Paid.NOTHING:
        return remedy
    if facts.open:
        return replace(remedy, costs=Costs.MAY_PAY_TWICE)
    return replace(remedy, costs=Costs.PAYS if earlier is Paid.PAID else Costs.AFTER_EARLIER)


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
        When.NO_RESULT: not has_result(facts),
        When.OPEN: facts.open and known,
        When.WAITS: facts.phase != Phase.FAILED,
        When.FAILED: facts.phase == Phase.FAILED,
        When.TOO_SLOW: not sent and facts.too_slow,
    }[remedy.when]


def find_remedy(facts: Facts, action: Action) -> Remedy | None:
    """The remedy with this action that applies; None if there is none."""
    return next((remedy for remedy in applicable_remedies(facts) if remedy.action is action), None)


def collect_value(facts: Facts) -> str:
    """Next unused value of contentgen.dev/collect."""
    return collect_again.next_value(facts.number, facts.asked)


def advice_lines(facts: Facts, name: str = "NAME") -> tuple[str, ...]:
    """Sentences for the remedies that apply, with costs. `name`: replaces NAME in commands."""
    row = explanation(facts)
    if row is None:
        return ()
    look = " ".join(filter(None, (row.where_to_look, earlier_attempts_text(facts))))
    return tuple(
        sentence.replace("NAME", name) for sentence in sentences(look, _with_costs(applicable_remedies(facts)))
    )


def earlier_attempts_text(facts: Facts) -> str:
    """Sentences about earlier attempts of a run whose current attempt has sent nothing; empty if none was paid."""
    earlier = earlier_payment_state(facts)
    if facts.sent or facts.edit_refused or earlier is Paid.NOTHING:
        return ""
    if facts.open:
        return (
            "An earlier attempt of this run may have been paid, and its request may still finish: check the provider's "
            "dashboard before another payment."
        )
    if earlier is Paid.PAID:
        return "An earlier attempt of this run was paid."
    return "An earlier attempt of this run may have been paid: see the provider's dashboard."


def free_advice_lines(facts: Facts, name: str = "NAME") -> tuple[str, ...]:
    """Sentences for the remedies that apply and pay nothing."""
    free = [
        remedy
        for remedy in applicable_remedies(facts)
        if remedy.costs is Costs.FREE and remedy.action is not Action.NONE
    ]
    return tuple(sentence.replace("NAME", name) for sentence in sentences("", _with_costs(free)))


def _with_costs(remedies: Iterable[Remedy]) -> Iterable[tuple[str, str]]:
    return ((remedy.sentence, remedy.costs.value) for remedy in remedies)


def collect_obstacle(facts: Facts) -> str:
    """Error text if the last run has no paid result to fetch; empty if it may have one."""
    if facts.phase != Phase.FAILED and not facts.incomplete:
        return (
            f"it is {facts.phase or 'not started'}: only the result of a failed run is fetched again, and what a "
            "completed one misses"
        )
    if facts.edit_refused:
        return "its spec was refused, which started no run: there is no result to fetch; correct the spec"
    if facts.request_id is not None:
        return ""
    if facts.sent:
        return "the reply to the paid request was lost, and no request is known yet: there is no result to fetch"
    if earlier_payment_state(facts) is not Paid.NOTHING:
        return (
            "the last attempt of the run that has failed sent nothing, and it has no result of an earlier one to fetch"
        )
    return "nothing was paid for the run that has failed: there is no result to fetch"


# Phrases of messages


def cost_clause(costs: Costs) -> str:
    """Costs as a relative clause."""
    return f"which {costs.value}"


def collect_advice(number: int, asked: str | None, what: str) -> str:
    """The free retry of a run's collect stage, and the cost of another run."""
    return f"{collect_clause(number, asked, what)}; {rerun_advice()}"


def collect_clause(number: int, asked: str | None, what: str) -> str:
    """The free retry of a run's collect stage."""
    value = collect_again.next_value(number, asked)
    return f"the annotation {COLLECT_ANNOTATION}={value} fetches {what}, {cost_clause(Costs.FREE)}"


def rerun_advice() -> str:
    """Another run, after a payment."""
    return f"the annotation {RERUN_ANNOTATION} with a new value {Costs.PAYS.value}"


def adopt_advice(request_id: str | None = None) -> str:
    """Adoption of the request."""
    named = request_id or "<request id>"
    return f"name the request with the annotation {ADOPT_ANNOTATION}={named}, {cost_clause(Costs.FREE)}"


def join_message(message: str, advice: str) -> str:
    """The message, truncated so that the advice fits."""
    return message[: MAX_MESSAGE - len(advice)] + advice


def resubmit_advice(token: str) -> str:
    """Permission of another payment. Programs read the token in `status.run.resubmitToken`."""
    return f"allow another payment with the annotation {RESUBMIT_ANNOTATION}={token}"
