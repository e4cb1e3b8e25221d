"""Errors named by what follows from them.

    WorkerError
    ├── FetchError            a download failed; `blame.py` says whose file it was, and makes it a Verdict
    │   ├── NotAllowed
    │   ├── Unreachable
    │   ├── TooLarge
    │   ├── Empty
    │   └── ChecksumMismatch
    ├── BadMedia              a file that can't be used as sound or picture
    │   ├── Unsupported
    │   ├── BeyondLimits
    │   ├── DecoderCrashed
    │   ├── NoVideoTrack
    │   ├── NoAudioTrack
    │   └── TooFewFrames
    ├── Verdict               it can never succeed: the outcome says so, exit 0
    │   └── NoVisionModel     captions by a model were asked for, and there is none
    └── Retryable             it may pass when tried again: no outcome, exit 1
        ├── OwnFileMissing    our own store has not got what we left there
        └── DeskRefused       the desk does not take our token: exit 3

Their texts are read by users: they name the thing, the value, what was expected and what to do, and never a
signed URL.
"""

from contentgen_contract.names import Reason
from contentgen_contract.resources.addresses import without_secrets

MESSAGE_LIMIT = 1024  # Outcome.message
_SHOWN = 300


class WorkerError(Exception):
    """Anything that this worker expects to go wrong."""


class FetchError(WorkerError):
    """A download failed. `transient`: another try may succeed at once; `permanent`: none will, hours later either."""

    permanent = True

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class NotAllowed(FetchError):
    """The URL, or where it leads, is one that a user's file may not come from."""


class Unreachable(FetchError):
    """Nothing usable came from the URL. `permanent`: the server says that there is no such file for us (HTTP 4xx)."""

    def __init__(self, message: str, *, transient: bool = False, permanent: bool = False) -> None:
        super().__init__(message, transient=transient)
        self.permanent = permanent


class TooLarge(FetchError):
    """More bytes than the limit."""


class Empty(FetchError):
    """No byte at all."""


class ChecksumMismatch(FetchError):
    """Another file than the one asked for."""


class BadMedia(WorkerError):
    """The file can't be used; `reason` says why."""

    reason = Reason.UNSUPPORTED_MEDIA


class Unsupported(BadMedia):
    """Not a container or codec that we open, or broken."""


class BeyondLimits(BadMedia):
    """Longer, larger, or dearer to decode than is taken."""

    reason = Reason.SOURCE_TOO_LARGE


class DecoderCrashed(BadMedia):
    """The process that decoded the file died of it."""


class NoVideoTrack(BadMedia):
    """A recording without pictures."""

    reason = Reason.NO_VIDEO


class NoAudioTrack(BadMedia):
    """A recording without sound."""

    reason = Reason.NO_AUDIO


class TooFewFrames(BadMedia):
    """Too few usable pictures to train with."""

    reason = Reason.INSUFFICIENT_FRAMES


class StageFailed(WorkerError):
    """The stage cannot succeed, for this reason. `transient`: a later attempt may, such as once a server is back."""

    def __init__(self, reason: Reason, message: str, *, transient: bool = False) -> None:
        super().__init__(message[:MESSAGE_LIMIT])
        self.reason = reason
        self.transient = transient


class NoVisionModel(StageFailed):
    """The spec asks for captions by a vision model, and this worker has none that works."""

    def __init__(self, why: str) -> None:
        super().__init__(Reason.INVALID_SPEC, f"spec.dataset.captions.engine is Vision, but {why}")


class Retryable(WorkerError):
    """Something outside is away; the same stage may pass later."""

    exit_code = 1


class OwnFileMissing(Retryable):
    """What an earlier stage or the operator left in our own store is not there."""


class WorkerApiRefused(Retryable):
    """The desk keeps answering 401 or 403."""

    exit_code = 3


def redacted(url: object) -> str:
    """A URL for a message: without user, query and fragment, since those may be signatures."""
    return without_secrets(str(url))[:_SHOWN]
