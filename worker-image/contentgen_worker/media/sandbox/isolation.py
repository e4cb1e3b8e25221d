"""Confined child processes that decode untrusted files.

A child may read its file and nothing else, so a compromised decoder reaches no token, file or network, and a crash
becomes a reason. Children are forked from a server that was started without our secrets in memory. Their messages are
plain data with limits (`codec.py`), never pickles; a malformed one fails the file.
"""

import fcntl
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from types import TracebackType
from typing import Any

from contentgen_worker import log
from contentgen_worker.errors import BeyondLimits, DecoderCrashed, Retryable, WorkerError
from contentgen_worker.media.codec import Malformed
from contentgen_worker.media.sandbox.confinement import ChildLimits, Confinement
from contentgen_worker.media.sandbox.protocol import ENDED, REQUEST_BYTES, STARTED, MessageType, parse
from contentgen_worker.media.sandbox.server_process import fork_server

_MESSAGE_BYTES = 256 << 20  # per message; a JPEG has less than 1 MiB
_ANSWER_BYTES = 8 << 30  # all messages of a child
_TRACEBACK_LENGTH = 8000  # characters in the log
_EXIT_SECONDS = 5.0  # from the end of its messages to the end of the process
_PIPE_BYTES = 1 << 20  # unread messages of a child; the default maximum for unprivileged processes
_REENCODE = "re-encode it, for example: ffmpeg -i FILE -c:v libx264 -c:a aac new.mp4"
_KILLED = ENDED.pack(-signal.SIGKILL, 0, 0)  # result of a child whose server has died

_logged: set[Confinement] = set()


@dataclass(frozen=True, slots=True)
class ChildUsage:
    """Resources used by ended children: largest peak memory of one (with shared pages), CPU seconds of all."""

    peak_bytes: int = 0
    cpu_seconds: float = 0.0


_total_usage = ChildUsage()


def usage() -> ChildUsage:
    """Resources used by all ended children of this process."""
    return _total_usage


def spawn(work: Callable[..., None], *args: Any, limits: ChildLimits) -> "ConfinedChild":
    """Run `work(send, *args)`, a module-level function, in a confined child.

    `send` accepts what `codec.py` encodes. Waits until the fork server has imported its modules. Raises Retryable if
    the server is gone.
    """
    request = pickle.dumps((limits, pickle.dumps((work, args))))
    if len(request) > REQUEST_BYTES:
        raise ValueError(f"{len(request)} bytes of arguments; pass a file instead")
    (connection, child_end), (records, server_end) = Pipe(duplex=False), Pipe(duplex=False)
    with child_end, server_end:
        fcntl.fcntl(connection.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        fork_server().fork(request, child_end.fileno(), server_end.fileno())
    return ConfinedChild(connection, records, limits)


class ConfinedChild:
    """Confined process. The context manager ends it; `multiprocessing.connection.wait` accepts it."""

    def __init__(
        self, connection: "Connection[Any, Any]", records: "Connection[Any, Any]", limits: ChildLimits
    ) -> None:
        self._connection = connection
        self._records = records
        self._limits = limits
        self._ended = False
        self._received = 0
        if not (record := os.read(records.fileno(), STARTED.size)):
            raise Retryable("the fork server of the decoders is gone")
        (self.pid,) = STARTED.unpack(record)  # its process id

    def __enter__(self) -> "ConfinedChild":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def fileno(self) -> int:
        """File descriptor that is readable when there is a message, or the end."""
        return self._connection.fileno()

    def messages(self) -> Iterator[object]:
        """Messages of the child as they arrive, until it ends. May be called again to continue.

        Raises the WorkerError that the work raised, or DecoderCrashed or BeyondLimits if the process died.
        """
        while not self._ended:
            kind, value = self._next()
            if kind is MessageType.MESSAGE:
                yield value
            elif kind is MessageType.CONFINED:
                _log_once(value)
            else:
                self._ended = True
                self._raise(kind, value)

    def end(self) -> None:
        """Kill the process. Idempotent."""
        self._ended = True
        if not self._records.closed:
            self._exit_code(seconds=0)
            self._records.close()
            self._connection.close()

    def _next(self) -> tuple[MessageType, Any]:
        try:
            content = self._connection.recv_bytes(_MESSAGE_BYTES)
        except (EOFError, OSError) as error:
            self._ended = True
            if str(error) == "bad message length":
                raise self._malformed_answer(f"a message of more than {_MESSAGE_BYTES} bytes") from None
            raise _exit_error(self._exit_code(_EXIT_SECONDS), self._limits) from None
        self._received += len(content)
        if self._received > _ANSWER_BYTES:
            raise self._malformed_answer(f"more than {_ANSWER_BYTES} bytes")
        try:
            return parse(content)
        except Malformed as error:
            raise self._malformed_answer(str(error)) from None

    def _malformed_answer(self, reason: str) -> DecoderCrashed:
        """Kill the child. Returns the error for an answer that our own code never sends."""
        self.end()
        return malformed_answer(reason)

    def _exit_code(self, seconds: float) -> int:
        """Exit code, after waiting so many seconds; then the process is killed."""
        if not wait([self._records], seconds):
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        code, peak, seconds = ENDED.unpack(os.read(self._records.fileno(), ENDED.size) or _KILLED)
        _add_usage(peak, seconds)
        return int(code)

    def _raise(self, kind: MessageType, value: Any) -> None:
        if kind is MessageType.REFUSED:
            raise value
        if kind is MessageType.FAILED:
            log.failure("decoder failed", traceback=value[-_TRACEBACK_LENGTH:])
            last = value.strip().rpartition("\n")[2]
            raise DecoderCrashed(f"decoding failed ({last[:200]})", advice=_REENCODE)


def malformed_answer(reason: str) -> DecoderCrashed:
    """Error for an answer that our own code never sends: the decoder is compromised or its memory is corrupt."""
    return DecoderCrashed(f"the decoder sent a malformed answer ({reason[:200]})", advice=_REENCODE)


def _exit_error(code: int, limits: ChildLimits) -> WorkerError:
    """Error for a process that died."""
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    if code == -signal.SIGXCPU:
        return BeyondLimits(
            f"decoding it took more than {limits.cpu_seconds} s of CPU", advice="cut it, or scale it down"
        )
    if code == -signal.SIGKILL:
        return BeyondLimits("its decoder was ended by SIGKILL, most likely for lack of memory", advice="scale it down")
    return DecoderCrashed(f"the decoder crashed on it ({name}), at something that it does not handle", advice=_REENCODE)


def _add_usage(peak: int, seconds: float) -> None:
    global _total_usage  # noqa: PLW0603 - process-wide, like resource.getrusage
    _total_usage = ChildUsage(max(_total_usage.peak_bytes, peak), _total_usage.cpu_seconds + seconds)


def _log_once(confinement: Confinement) -> None:
    if confinement in _logged:
        return
    _logged.add(confinement)
    missing = [name for name in ("landlock", "seccomp") if not getattr(confinement, name)]
    if missing:
        log.event(
            "decoder not wholly confined", missing=missing, hint="not supported by the kernel or the container runtime"
        )
    else:
        log.event("decoder confined", landlock=confinement.landlock, seccomp=confinement.seccomp)
