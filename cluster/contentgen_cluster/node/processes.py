"""Long-running processes with records that identify exactly those that we started.

Pids are reused, so a record also has the process's start time and the boot id: only a process that matches all
three is signalled.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from contentgen_cluster.commands import Argument, ClusterError

PROC = Path("/proc")


@dataclass(frozen=True)
class Started:
    """Record of a started process."""

    pid: int
    start_time: int
    boot: str


def boot_id(proc: Path = PROC) -> str:
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


def observe(pid: int, proc: Path = PROC) -> Started | None:
    """Record of the process with this pid; None if it does not exist or is a zombie."""
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    if fields[0] in "ZX":
        return None
    return Started(pid=pid, start_time=int(fields[19]), boot=boot_id(proc))


def read_record(path: Path) -> Started | None:
    """Content of a pid file; None if it is missing or invalid."""
    try:
        return Started(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def alive(record: Started | None, proc: Path = PROC) -> bool:
    """Whether the recorded process still runs."""
    return record is not None and observe(record.pid, proc) == record


def resident(record: Started, proc: Path = PROC) -> int:
    """Resident memory of a process in bytes."""
    pages = (proc / str(record.pid) / "statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def spawn(command: Sequence[Argument], pid_file: Path, log: Path) -> Started:
    """Start a program in a new session, so that it survives this process and the terminal."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    record = observe(process.pid)
    if record is None:
        raise ClusterError(f"{command[0]} exited immediately; see {log}")
    pid_file.write_text(json.dumps(asdict(record)))
    process.returncode = 0  # prevents a ResourceWarning: the process must outlive this one
    return record


def stop(records: Sequence[Started], patience: float = 10.0) -> None:
    """Stop the recorded processes: SIGTERM, then SIGKILL."""
    for wanted, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        for record in records:
            if alive(record):
                with suppress(ProcessLookupError):
                    os.kill(record.pid, wanted)
        deadline = time.monotonic() + seconds
        while any(alive(record) for record in records) and time.monotonic() < deadline:
            time.sleep(0.05)
    if left := [record.pid for record in records if alive(record)]:
        raise ClusterError(f"processes do not exit: {left}")


def with_argument(argument: str, proc: Path = PROC) -> list[Started]:
    """Processes that were started with exactly this argument."""
    found = []
    for folder in proc.iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if argument in (folder / "cmdline").read_bytes().decode(errors="replace").split("\0"):
                    found.append(observe(int(folder.name), proc))
    return [record for record in found if record is not None]
