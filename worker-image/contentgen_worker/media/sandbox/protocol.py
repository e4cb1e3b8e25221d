"""Protocol between the worker, the fork server and a confined child: process records and messages.

A child is untrusted: `parse` checks its messages and raises Malformed for one that our code never sends.
"""

import enum
import struct
from multiprocessing.connection import Connection
from typing import Any

from contentgen_worker import errors
from contentgen_worker.errors import BadMedia, FetchError, WorkerError
from contentgen_worker.media.codec import Malformed, decode, encode
from contentgen_worker.media.sandbox.confinement import Confinement

REQUEST_BYTES = 1 << 20
STARTED = struct.Struct("i")  # a process id
ENDED = struct.Struct("iqd")  # exit code as subprocess gives it: negative for a signal; peak bytes, CPU seconds


class MessageType(enum.Enum):
    """First value of each message."""

    CONFINED = "Confined"
    MESSAGE = "Message"
    REFUSED = "Refused"  # the function raised a BadMedia or FetchError
    FAILED = "Failed"  # it raised another exception
    FINISHED = "Finished"


def send(connection: "Connection[Any, Any]", kind: MessageType, value: object) -> None:
    """Child process: send one message."""
    connection.send_bytes(encode((kind.value, value)))


def parse(content: bytes) -> tuple[MessageType, Any]:
    """Type and value of a child's message. Raises Malformed."""
    match decode(content):
        # `str()` first: an array in the place of the type cannot be compared with one.
        case (str(MessageType.CONFINED.value), Confinement() as value):
            return MessageType.CONFINED, value
        case (str(MessageType.MESSAGE.value), value):
            return MessageType.MESSAGE, value
        case (str(MessageType.REFUSED.value), (str(name), str(finding), str(advice))):
            return MessageType.REFUSED, _error(name, finding, advice)
        case (str(MessageType.FAILED.value), str(value)):
            return MessageType.FAILED, value
        case (str(MessageType.FINISHED.value), None):
            return MessageType.FINISHED, None
    raise Malformed("no message type and value")


def _error(name: str, finding: str, advice: str) -> WorkerError:
    """Named error. Only errors about the file are accepted: a child has no access to worker API or store."""
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, (BadMedia, FetchError))):
        raise Malformed(f"error {name[:80]!r}")
    return kind(finding[: errors.MESSAGE_LIMIT], advice=advice[: errors.MESSAGE_LIMIT])
