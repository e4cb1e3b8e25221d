"""The annotation contentgen.dev/cancel, which names a run by its number (docs/decisions/0014). Pure."""

from collections.abc import Mapping

from contentgen_contract.annotations.collect_again import run_number_of
from contentgen_contract.names import CANCEL_ANNOTATION, COLLECT_ANNOTATION, FINAL_PHASES, RESUBMIT_ANNOTATION, Phase


class CannotCancel(ValueError):
    """Cancellation refused, with the reason. `paid`: the provider has finished and is paid in any case."""

    def __init__(self, message: str, *, paid: bool = False) -> None:
        super().__init__(message)
        self.paid = paid


def run_to_cancel(phase: str | None, reason: str | None, number: int, *, asked_again: bool) -> int:
    """Number of the current run, or of a requested one that has not begun. Raises CannotCancel.

    `number`: the last run that began; 0 before the first. `asked_again`: another run is requested.
    """
    ended = phase in FINAL_PHASES
    if asked_again:
        return number + 1 if ended else max(number, 1)
    if ended:
        raise CannotCancel(f"there is nothing to cancel: it is {phase} ({reason})")
    if phase == Phase.COLLECTING:
        raise CannotCancel(
            "it is too late to cancel: the provider has finished and was paid, and the outputs are being stored",
            paid=True,
        )
    return max(number, 1)


def describe_ignored(
    annotations: Mapping[str, str], phase: str | None, number: int, token: str | None
) -> tuple[str, ...]:
    """A sentence for each annotation that names no run or purchase, with the valid value.

    `number`: the last run that began; 0 before the first. `token`: the purchase with a lost reply that waits for
    another payment; None: none.
    """
    found = []
    cancel, resubmit = annotations.get(CANCEL_ANNOTATION), annotations.get(RESUBMIT_ANNOTATION)
    if cancel is not None and not _is_run_number(cancel, number + 1):
        ended = phase in FINAL_PHASES
        right = "none is under way" if ended else f"the run under way is {max(number, 1)}"
        found.append(f"{CANCEL_ANNOTATION}={cancel[:_MAX_QUOTED]!r} is ignored: it names no run; {right}")
    if resubmit is not None and token is not None and resubmit != token:
        right = f"the one that waits for another payment is {token}"
        found.append(f"{RESUBMIT_ANNOTATION}={resubmit[:_MAX_QUOTED]!r} is ignored: it names no purchase; {right}")
    collect = annotations.get(COLLECT_ANNOTATION)
    if collect is not None and not 1 <= (run_number_of(collect) or 0) <= max(number, 1):
        right = f"the last one is {number}" if number else "none has begun"
        found.append(f"{COLLECT_ANNOTATION}={collect[:_MAX_QUOTED]!r} is ignored: it names no run; {right}")
    return tuple(found)


_MAX_QUOTED = 64  # characters of a value


def _is_run_number(given: str, most: int) -> bool:
    """True for a decimal number from 1 to `most`, without leading zeros."""
    plain = given.isascii() and given.isdecimal() and not given.startswith("0") and len(given) < _MAX_QUOTED
    return plain and int(given) <= most
