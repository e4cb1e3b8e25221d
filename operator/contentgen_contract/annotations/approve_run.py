"""The annotations contentgen.dev/approve and contentgen.dev/reject, which name the run that waits
(docs/decisions/0031). Pure.

A rejection's value is `<run>` or `<run>-<anything>`. An approval's is `<run>-<amount>` or `<run>-<amount>-<anything>`,
with the amount that its user was shown (`status.run.approval.amount`). A value that was set before the run waited does
not count, and another one is needed to approve it.
"""

import hashlib
import json
import re
from collections.abc import Mapping

from contentgen_contract.annotations.collect_again import run_number_of
from contentgen_contract.base import Value
from contentgen_contract.names import (
    APPROVE_ANNOTATION,
    APPROVED_BY_ANNOTATION,
    REJECT_ANNOTATION,
    Phase,
    Verdict,
)

MAX_USER = 256  # characters
UNKNOWN_AMOUNT = "unknown"  # of a run whose price has no known upper bound
_MAX_VALUE = 64
_AMOUNT = re.compile(r"[1-9][0-9]{0,8}-([0-9]{1,15}(?:\.[0-9]{1,6})?|unknown)(?:-.*)?", re.ASCII)
ANNOTATION_OF = {Verdict.REJECTED: REJECT_ANNOTATION, Verdict.APPROVED: APPROVE_ANNOTATION}
"""The annotation of each verdict. A rejection is read first, so that it wins over an approval."""


class CannotDecide(ValueError):
    """Approval or rejection refused, with the reason."""


class GivenVerdict(Value):
    """Approval or rejection in the annotations of a resource."""

    verdict: Verdict
    value: str  # of the annotation
    by: str

    @property
    def run(self) -> int:
        """Number of the run that it names."""
        return run_number_of(self.value) or 0

    @property
    def amount(self) -> str | None:
        """US dollars that the user was shown, or `unknown`; None: it names none, and approves nothing."""
        found = _AMOUNT.fullmatch(self.value)
        return found[1] if found else None

    @property
    def digest(self) -> str:
        """Digest (16 hex digits) of the annotations, by which a lapsed one is recognized."""
        text = json.dumps([self.verdict, self.value, self.by])
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def given_verdicts(annotations: Mapping[str, str]) -> tuple[GivenVerdict, ...]:
    """The rejection and the approval in the annotations, each with a run number and the name of a user."""
    by = annotations.get(APPROVED_BY_ANNOTATION, "")
    if not is_user(by):
        return ()
    return tuple(
        GivenVerdict(verdict=verdict, value=value, by=by)
        for verdict, name in ANNOTATION_OF.items()
        if (value := annotations.get(name)) is not None and run_number_of(value) is not None
    )


def is_user(name: str) -> bool:
    """True for a printable name of 1 to `MAX_USER` characters."""
    return bool(name) and len(name) <= MAX_USER and name.isprintable()


def waiting_run(phase: str | None, reason: str | None, number: int) -> int:
    """Number of the run that waits for an approval. Raises CannotDecide."""
    if phase == Phase.AWAITING_APPROVAL and number > 0:
        return number
    raise CannotDecide(f"no run waits for an approval: it is {phase or 'not started'} ({reason or 'no reason'})")


def approval_of(number: int, amount: str, by: str, present: Mapping[str, str], token: str) -> dict[str, str | None]:
    """Annotations that approve a run; a rejection is removed.

    `amount` is the one that the user was shown. `token` makes the value another one where the present one has lapsed.
    """
    return _annotations(Verdict.APPROVED, f"{number}-{amount}", by, present, token)


def rejection_of(number: int, by: str, present: Mapping[str, str], token: str) -> dict[str, str | None]:
    """Annotations that reject a run; an approval is removed. `token`: as for an approval."""
    return _annotations(Verdict.REJECTED, str(number), by, present, token)


def _annotations(
    verdict: Verdict, value: str, by: str, present: Mapping[str, str], token: str
) -> dict[str, str | None]:
    name, other = ANNOTATION_OF[verdict], ANNOTATION_OF[_OTHER[verdict]]
    return {name: value if present.get(name) is None else f"{value}-{token}", other: None, APPROVED_BY_ANNOTATION: by}


def unused_value(value: str, present: str) -> str:
    """The value, with a suffix if the annotation has it already: it has lapsed then. `present`: empty if not set."""
    if present != value and not present.startswith(f"{value}-"):
        return value
    count = present[len(value) + 1 :]
    return f"{value}-{int(count) + 1 if re.fullmatch('[0-9]{1,9}', count) else 2}"


_OTHER = {Verdict.APPROVED: Verdict.REJECTED, Verdict.REJECTED: Verdict.APPROVED}


def describe_ignored_verdict(
    annotations: Mapping[str, str], phase: str | None, number: int, amount: str | None
) -> tuple[str, ...]:
    """A sentence for each approval or rejection that has no effect on a run that waits.

    `amount`: the one that an approval of it names (`status.run.approval.amount`).
    """
    if phase != Phase.AWAITING_APPROVAL:
        return ()
    found = []
    for verdict, name in ANNOTATION_OF.items():
        value, by = annotations.get(name), annotations.get(APPROVED_BY_ANNOTATION, "")
        if value is None:
            continue
        if run_number_of(value) != number:
            found.append(f"{name}={value[:_MAX_VALUE]!r} is ignored: the run that waits is {number}")
        elif not is_user(by):
            found.append(f"{name}={value!r} is ignored: {APPROVED_BY_ANNOTATION} must name the user beside it")
        elif verdict is Verdict.APPROVED and GivenVerdict(verdict=verdict, value=value, by=by).amount != amount:
            found.append(f"{name}={value!r} is ignored: an approval of this run names the amount, {number}-{amount}")
    return tuple(found)
