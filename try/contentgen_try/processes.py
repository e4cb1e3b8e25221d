"""Child processes that end with this one: their process groups are killed, and the kernel kills each when its parent
ends, also after `kill -9`.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_SECONDS = 0.02
_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: the child may only make system calls
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables of the user that programs get; no others, so that no program has another's key."""
_NAMED = {"LOGNAME": "contentgen"}  # kopf asks for the name of its user, who may have none


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Environment of a program: the variables of PASSED_ON, and its settings."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return passed_on | _NAMED | dict(settings)


def aws() -> dict[str, str]:
    """The user's AWS variables, for programs that use the user's own bucket."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


@dataclass(frozen=True)
class Program:
    """Command, whole environment and log file of a child process. `descriptors`: open files that it gets too."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    folder: Path | None = None
    descriptors: tuple[int, ...] = ()


def start(program: Program) -> subprocess.Popen[bytes]:
    """Start a program in a process group of its own, with its output appended to its log.

    The kernel's signal comes when the thread that started the child ends, so that must be a thread that lasts.
    """
    program.log.parent.mkdir(parents=True, exist_ok=True)
    parent = os.getpid()

    def bind() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before prctl
            os._exit(1)

    with program.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own programs
            program.command,
            env=dict(program.environment),
            cwd=program.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=program.descriptors,
            preexec_fn=bind,  # noqa: PLW1509 - makes system calls only
        )


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore the signals that end the command: another Ctrl-C must not leave programs behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ended(process: subprocess.Popen[bytes]) -> int | None:
    """Exit code of a process, None while it runs. What it left in its process group is killed.

    It is reaped after its group was signalled: until then the kernel gives the group's number to no other.
    """
    if process.returncode is None and not _runs(process):
        signal_group(process, signal.SIGKILL)
        process.wait()
    return process.returncode


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group, unless the process was reaped, and wait."""
    if process.returncode is None:
        signal_group(process, signal.SIGKILL)
        process.wait()


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the process group; nothing happens if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def stop(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """End processes: SIGTERM, and after `seconds` SIGKILL for the whole groups."""
    for process in processes:
        if ended(process) is None:
            process.terminate()
    deadline = time.monotonic() + seconds
    while any(ended(process) is None for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    for process in processes:
        kill(process)


def _runs(process: subprocess.Popen[bytes]) -> bool:
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
