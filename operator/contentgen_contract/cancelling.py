"""Which run ends when a person cancels: the annotation names it by its number (docs/decisions/0014). Pure."""

from contentgen_contract.names import Phase


class CannotCancel(ValueError):
    """Says why. `paid`: the provider has finished, and is paid in any case."""

    def __init__(self, message: str, *, paid: bool = False) -> None:
        super().__init__(message)
        self.paid = paid


def run_to_cancel(phase: str | None, reason: str | None, number: int, *, asked_again: bool) -> int:
    """The number of the run under way, or of the one that was asked for and has not begun. Raises CannotCancel.

    `number` is that of the last run that began, 0 before the first.
    """
    ended = phase in (Phase.COMPLETED, Phase.FAILED)
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
