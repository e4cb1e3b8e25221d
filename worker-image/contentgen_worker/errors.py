"""Worker errors, named by their consequence.

    WorkerError
    ├── FileError
    │   ├── FetchError            a download failed; `error_mapping` turns it into a StageFailed
    │   │   ├── NotAllowed
    │   │   ├── Unreachable
    │   │   ├── TooLarge
    │   │   ├── Empty
    │   │   └── ChecksumMismatch
    │   └── BadMedia              the file can't be used as audio, video or picture
    │       ├── Unsupported
    │       ├── BeyondLimits
    │       ├── DecoderCrashed
    │       ├── NoVideoTrack
    │       ├── NoAudioTrack
    │       └── TooFewFrames
    ├── StageFailed           permanent: the outcome reports it, exit 0
    │   └── NoVisionModel     captions by a model were requested, and none is installed
    └── Retryable             may succeed later: no outcome, exit 1
        ├── OwnFileMissing    a file is missing in our own store
        └── WorkerApiRefused  the worker API rejects the token: exit 3

Users read the messages: each names the object, its value, what was expected and what to do. None contains a signed URL.
"""

from contentgen_contract.names import Reason
from contentgen_contract.resources.addresses import strip_credentials

MESSAGE_LIMIT = 1024  # Outcome.message
_SHOWN = 300


class WorkerError(Exception):
    """Base class of expected errors."""


class FileError(WorkerError):
    """A file can't be fetched or used. `advice`: for the person who chose the file; a provider's file has none."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(f"{message}; {advice}" if advice else message)
        self.finding = message  # without the advice
        self.advice = advice


class FetchError(FileError):
    """A download failed. `transient`: an immediate retry may succeed; `permanent`: no later attempt can."""

    permanent = True

    def __init__(self, message: str, *, transient: bool = False, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.transient = transient


class NotAllowed(FetchError):
    """The URL, or a redirect from it, leads to a forbidden address."""


class Unreachable(FetchError):
    """The URL gave no usable response. `permanent`: the server answered HTTP 4xx."""

    def __init__(self, message: str, *, transient: bool = False, permanent: bool = False, advice: str = "") -> None:
        super().__init__(message, transient=transient, advice=advice)
        self.permanent = permanent


class TooLarge(FetchError):
    """The file exceeds the size limit."""


class Empty(FetchError):
    """The file has 0 bytes."""


class ChecksumMismatch(FetchError):
    """The file has another sha256 than expected."""


class BadMedia(FileError):
    """The file can't be used; `reason` is the outcome's reason."""

    reason = Reason.UNSUPPORTED_MEDIA


class Unsupported(BadMedia):
    """Unsupported container or codec, or damaged."""


class BeyondLimits(BadMedia):
    """The file exceeds a limit on duration, size or decoding cost."""

    reason = Reason.SOURCE_TOO_LARGE


class DecoderCrashed(BadMedia):
    """The decoding process crashed or sent malformed data."""


class NoVideoTrack(BadMedia):
    """The recording has no video track."""

    reason = Reason.NO_VIDEO


class NoAudioTrack(BadMedia):
    """The recording has no audible track."""

    reason = Reason.NO_AUDIO


class TooFewFrames(BadMedia):
    """The video has too few usable pictures for a training set."""

    reason = Reason.INSUFFICIENT_FRAMES


class StageFailed(WorkerError):
    """The stage failed with this reason. `transient`: a later attempt may succeed, such as once a server is up."""

    def __init__(self, reason: Reason, message: str, *, transient: bool = False) -> None:
        super().__init__(message[:MESSAGE_LIMIT])
        self.reason = reason
        self.transient = transient


class NoVisionModel(StageFailed):
    """The spec asks for captions by a vision model, and this worker has no usable one."""

    def __init__(self, why: str) -> None:
        super().__init__(Reason.INVALID_SPEC, f"spec.dataset.captions.engine is Vision, but {why}")


class NoDetector(StageFailed):
    """The spec asks for a detector of PySceneDetect, which is not installed."""

    def __init__(self, detector: str) -> None:
        where = "spec.dataset.sceneDetection.detector"
        super().__init__(
            Reason.INVALID_SPEC,
            f"{where} is {detector}, and this worker has no PySceneDetect: use Auto, or the image contentgen-worker",
        )


class Retryable(WorkerError):
    """An external service is unavailable; the same stage may succeed later."""

    exit_code = 1


class OwnFileMissing(Retryable):
    """A file that an earlier stage or the operator stored is missing."""


class WorkerApiRefused(Retryable):
    """The worker API keeps answering 401 or 403."""

    exit_code = 3


def redacted(url: object) -> str:
    """URL for a message: without user, query and fragment, which may hold signatures; of a data URL the scheme."""
    if str(url)[:5].lower() == "data:":
        return "data:"
    return strip_credentials(str(url))[:_SHOWN]
