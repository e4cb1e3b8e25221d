"""Processes of a benchmark: started, waited for, and measured by CPU and memory from /proc."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from contentgen_bench.cpu_quota import CpuQuota

_SAMPLES_A_SECOND = 10
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class MeasuredProcess:
    """Running process with its CPU time and memory from /proc."""

    pid: int

    def runs(self) -> bool:
        """False once it has exited, also before its parent has waited for it."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def resident_mb(self) -> float:
        """Current resident memory in MB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024

    def cpu_seconds(self) -> float:
        """User and system time so far in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def children(self) -> list["MeasuredProcess"]:
        """Child processes."""
        lists = [path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/children")]  # one file per thread
        return [MeasuredProcess(int(child)) for listed in lists for child in listed.split()]

    def name(self) -> str:
        """Name of the program, and of the module for Python."""
        words = Path(f"/proc/{self.pid}/cmdline").read_text().split("\0")
        return words[words.index("-m") + 1] if "-m" in words else Path(words[0]).name

    def tree_mb(self) -> float:
        """Current memory of the process tree in MB; shared memory counts once (PSS)."""
        total = 0
        for process in self.tree():
            try:
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue  # the process has exited
            total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
        return total / 1024

    def tree(self) -> Iterator["MeasuredProcess"]:
        """This process and all processes below it."""
        yield self
        try:
            children = self.children()
        except (FileNotFoundError, ProcessLookupError):
            return  # the process has exited
        for child in children:
            yield from child.tree()


@contextmanager
def running(
    command: list[str], environment: dict[str, str] | None, log: Path, *, end: signal.Signals = signal.SIGTERM
) -> Iterator[MeasuredProcess]:
    """Run a program within the context, and end it by this signal; an earlier exit is a RuntimeError."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield MeasuredProcess(process.pid)
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(command[-2:])} ended with {process.returncode}; see {log}")
    finally:
        process.send_signal(end)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(what: str, holds: Callable[[], bool], seconds: float = 30) -> None:
    """Return once the condition holds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def is_success(client: httpx.Client, path: str) -> bool:
    """Whether a GET succeeds; False while nothing listens."""
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False


class ProcessFailed(Exception):
    """A measured program failed."""


@dataclass(frozen=True)
class Ran:
    """Wall seconds, CPU seconds and peak memory of a program with its children."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


def measured(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    cores: set[int] | None = None,
    share: float = 1.0,
) -> Ran:
    """Run a program to its end on these `cores`; each of its processes gets at most this share of one. Raises
    ProcessFailed."""
    begun = time.monotonic()
    taskset = ["taskset", "--cpu-list", ",".join(map(str, sorted(cores)))] if cores else []
    process = subprocess.Popen(
        [*taskset, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    output: list[str] = []
    reader = threading.Thread(target=lambda: output.append(process.stdout.read() if process.stdout else ""))
    with ExitStack() as stack:
        quota = stack.enter_context(CpuQuota(share)) if share < 1 else None
        watched = stack.enter_context(_Watched(MeasuredProcess(process.pid), quota))
        reader.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    reader.join()
    if process.stdout:
        process.stdout.close()
    if process.returncode:
        raise ProcessFailed(f"{' '.join(command)} ended with {process.returncode}: {output[0][-2000:]}")
    return Ran(seconds, usage.ru_utime + usage.ru_stime, watched.peak, output[0])


class _Watched:
    """Context manager that samples the memory of a running program, and applies a quota to its processes."""

    def __init__(self, process: MeasuredProcess, quota: CpuQuota | None) -> None:
        self.peak = 0.0
        self._process, self._quota = process, quota
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_Watched":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            if self._quota:
                self._quota.limit(each.pid for each in self._process.tree())
            if self._ended.wait(1 / _SAMPLES_A_SECOND):
                return
            self.peak = max(self.peak, self._process.tree_mb())
