"""A user's file is decoded in a child process that may read this file and nothing else: a decoder that is broken into
reaches no token, no file and no network, and one that dies is a reason, not a dead worker.

Children are forked from a server that has imported the decoders and was started without our secrets in memory.
Answers of a child are plain data with limits (`codec.py`), never pickles; what is wrong with one ends that file.
"""

import atexit
import fcntl
import functools
import os
import pickle
import signal
import socket
import subprocess
import sys
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

_MESSAGE_BYTES = 256 << 20  # of one message; a JPEG has less than one
_ANSWER_BYTES = 8 << 30  # of all messages of a child
_TRACEBACK_LENGTH = 8000  # characters that are logged
_DYING_SECONDS = 5.0  # from the end of its words to the end of a process
_PIPE_BYTES = 1 << 20  # what a child may be ahead of us; the most that a kernel gives without asking
_MAKE_ANEW = "make the file anew, for example: ffmpeg -i FILE -c:v libx264 -c:a aac new.mp4"
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")  # of our environment; the rest is no decoder's business

_KILLED = ENDED.pack(-signal.SIGKILL, 0, 0)  # so does every child end whose server has

_said: set[Confinement] = set()


@dataclass(frozen=True, slots=True)
class ChildUsage:
    """What children that have ended used: the largest peak of one (shared pages included), the CPU time of all."""

    peak_bytes: int = 0
    cpu_seconds: float = 0.0


_used = ChildUsage()


def usage() -> ChildUsage:
    """Of all children of this process so far."""
    return _used


class _ForkServer:
    """The server's process, and our end of its socket."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = str(theirs.fileno())
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        # Threads of the server would be missing in what it forks.
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        # -P: no module is imported from the working directory.
        command = [sys.executable, "-P", "-m", "contentgen_worker.media.sandbox.fork_server", number]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.DEVNULL, env=environment, pass_fds=[theirs.fileno()]
        )
        theirs.close()
        atexit.register(self._close)

    def fork(self, request: bytes, words: int, end: int) -> None:
        """Ask for a child that writes to `words`; its id and exit code go to `end`."""
        with suppress(BrokenPipeError, ConnectionResetError):  # nothing will come from `end`
            socket.send_fds(self._socket, [request], [words, end])

    def _close(self) -> None:
        self._socket.close()
        self._process.wait()


@functools.cache
def _nursery() -> _ForkServer:
    return _ForkServer()


def preload() -> None:
    """Start the server that children are forked from; it imports beside whatever follows. Needs no second call."""
    _nursery()


def spawn(work: Callable[..., None], *args: Any, limits: ChildLimits) -> "ConfinedChild":
    """Run `work(send, *args)`, a function of a module, in a confined child. `send` takes plain values, arrays and the
    dataclasses that cross (`codec.py`). Waits until the server has imported what it imports."""
    request = pickle.dumps((limits, pickle.dumps((work, args))))
    if len(request) > REQUEST_BYTES:
        raise ValueError(f"{len(request)} bytes of arguments; give a file instead")
    (words, theirs), (end, told) = Pipe(duplex=False), Pipe(duplex=False)
    with theirs, told:
        fcntl.fcntl(words.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        _nursery().fork(request, theirs.fileno(), told.fileno())
    return ConfinedChild(words, end, limits)


class ConfinedChild:
    """A confined process. As a context manager it ends with the block; `multiprocessing.connection.wait` takes it."""

    def __init__(self, words: "Connection[Any, Any]", end: "Connection[Any, Any]", limits: ChildLimits) -> None:
        self._words = words
        self._end = end
        self._limits = limits
        self._over = False
        self._received = 0
        if not (said := os.read(end.fileno(), STARTED.size)):
            raise Retryable("the server that decoders are forked from is gone")
        (self.pid,) = STARTED.unpack(said)  # its process id

    def __enter__(self) -> "ConfinedChild":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def fileno(self) -> int:
        """Readable when there is a message, or an end."""
        return self._words.fileno()

    def messages(self) -> Iterator[object]:
        """What the work sends, each as it comes; then the end: raises the WorkerError that the work raised, or
        DecoderCrashed or BeyondLimits where it died. May be called again for the next ones."""
        while not self._over:
            word, value = self._next()
            if word is MessageType.MESSAGE:
                yield value
            elif word is MessageType.CONFINED:
                _say_once(value)
            else:
                self._over = True
                self._raise(word, value)

    def end(self) -> None:
        """End the process, whatever it does. Any number of times."""
        self._over = True
        if not self._end.closed:
            self._exit_code(patience=0)
            self._end.close()
            self._words.close()

    def _next(self) -> tuple[MessageType, Any]:
        try:
            content = self._words.recv_bytes(_MESSAGE_BYTES)
        except (EOFError, OSError) as error:
            self._over = True
            if str(error) == "bad message length":
                raise self._nonsense(f"a message of more than {_MESSAGE_BYTES} bytes") from None
            raise _death(self._exit_code(_DYING_SECONDS), self._limits) from None
        self._received += len(content)
        if self._received > _ANSWER_BYTES:
            raise self._nonsense(f"more than {_ANSWER_BYTES} bytes")
        try:
            return parse(content)
        except Malformed as error:
            raise self._nonsense(str(error)) from None

    def _nonsense(self, why: str) -> DecoderCrashed:
        """The error for an answer that our own code never sends."""
        self.end()
        return nonsense(why)

    def _exit_code(self, patience: float) -> int:
        """How it ended; by us, where it does not end by itself."""
        if not wait([self._end], patience):
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        code, peak, seconds = ENDED.unpack(os.read(self._end.fileno(), ENDED.size) or _KILLED)
        _count(peak, seconds)
        return int(code)

    def _raise(self, word: MessageType, value: Any) -> None:
        if word is MessageType.REFUSED:
            raise value
        if word is MessageType.FAILED:
            log.failure("decoder failed", traceback=value[-_TRACEBACK_LENGTH:])
            last = value.strip().rpartition("\n")[2]
            raise DecoderCrashed(f"decoding failed ({last[:200]}); {_MAKE_ANEW}")


def nonsense(why: str) -> DecoderCrashed:
    """The error for an answer that our own code never sends: the decoder was broken into, or its memory is damaged."""
    return DecoderCrashed(f"the decoder sent a malformed answer ({why[:200]}); {_MAKE_ANEW}")


def _death(code: int, limits: ChildLimits) -> WorkerError:
    """Why a process ended that did not say so."""
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    if code == -signal.SIGXCPU:
        return BeyondLimits(f"decoding it took more than {limits.cpu_seconds} s of CPU; cut it, or scale it down")
    if code == -signal.SIGKILL:
        return BeyondLimits("decoding it was ended by SIGKILL, most likely for want of memory; scale it down")
    return DecoderCrashed(f"the decoder crashed on it ({name}): it is damaged, or made to do harm; {_MAKE_ANEW}")


def _count(peak: int, seconds: float) -> None:
    global _used  # noqa: PLW0603 - as a process's own usage is
    _used = ChildUsage(max(_used.peak_bytes, peak), _used.cpu_seconds + seconds)


def _say_once(confinement: Confinement) -> None:
    if confinement in _said:
        return
    _said.add(confinement)
    missing = [name for name in ("landlock", "seccomp") if not getattr(confinement, name)]
    if missing:
        log.event("decoder not wholly confined", missing=missing, hint="the kernel, or the runtime, has not got it")
    else:
        log.event("decoder confined", landlock=confinement.landlock, seccomp=confinement.seccomp)
