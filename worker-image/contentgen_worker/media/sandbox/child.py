"""Main function of a confined child: confine the process, run the requested function, send its messages."""

import pickle
import traceback
from multiprocessing.connection import Connection
from typing import Any

from contentgen_worker.errors import BeyondLimits, FileError
from contentgen_worker.media.sandbox.confinement import ChildLimits, confine
from contentgen_worker.media.sandbox.protocol import MessageType, send


def run_child(connection: "Connection[Any, Any]", request: bytes) -> None:
    """Run a pickled request and send its outcome. Raises nothing that a file can cause."""
    limits: ChildLimits
    limits, pickled_call = pickle.loads(request)  # noqa: S301 - from our own parent process
    try:
        work, args = pickle.loads(pickled_call)  # noqa: S301
        send(connection, MessageType.CONFINED, confine(limits))
        work(lambda message: send(connection, MessageType.MESSAGE, message), *args)
    except FileError as error:
        send(connection, MessageType.REFUSED, (type(error).__name__, error.finding, error.advice))
    except MemoryError:
        send(connection, MessageType.REFUSED, (BeyondLimits.__name__, _out_of_memory(limits), "scale it down"))
    except BrokenPipeError:
        return  # the worker has stopped reading
    except Exception:  # noqa: BLE001 - any error of a library on a broken file is reported
        send(connection, MessageType.FAILED, traceback.format_exc())
    else:
        send(connection, MessageType.FINISHED, None)


def _out_of_memory(limits: ChildLimits) -> str:
    return f"decoding it needs more than {limits.memory_bytes >> 20} MiB of memory"
