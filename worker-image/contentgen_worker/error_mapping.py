"""Mapping of download and media errors to reasons: the same failure is the user's fault for a source and the provider's
for a result."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from contentgen_contract.names import Reason
from contentgen_worker.errors import (
    BadMedia,
    ChecksumMismatch,
    Empty,
    FetchError,
    NotAllowed,
    StageFailed,
    TooLarge,
    Unreachable,
)

ReasonMap = Mapping[type[FetchError], Reason]

SOURCE: ReasonMap = {
    NotAllowed: Reason.SOURCE_NOT_ALLOWED,
    Unreachable: Reason.SOURCE_UNREACHABLE,
    TooLarge: Reason.SOURCE_TOO_LARGE,
    Empty: Reason.SOURCE_EMPTY,
    ChecksumMismatch: Reason.SOURCE_CHECKSUM_MISMATCH,
}
RESULT: ReasonMap = {  # its messages have no advice: the file is the provider's
    NotAllowed: Reason.RESULT_UNREACHABLE,
    Unreachable: Reason.RESULT_UNREACHABLE,
    TooLarge: Reason.RESULT_INVALID,
    Empty: Reason.RESULT_INVALID,
    ChecksumMismatch: Reason.RESULT_INVALID,
}


@contextmanager
def stage_failures(reasons: ReasonMap, what: str) -> Iterator[None]:
    """Context manager that turns FetchError and BadMedia into StageFailed. `what`: prefix of the message."""
    try:
        yield
    except FetchError as error:
        text = error.finding if reasons is RESULT else str(error)
        raise StageFailed(reasons[type(error)], f"{what}: {text}", transient=not error.permanent) from None
    except BadMedia as error:
        raise StageFailed(error.reason, f"{what}: {error}") from None
