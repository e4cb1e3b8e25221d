"""What Linux says of a process."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A running process, and what Linux says of it."""

    pid: int

    def resident_mb(self) -> float:
        """Resident memory now."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def children(self) -> list["Process"]:
        """The processes that it started."""
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [Process(int(child)) for child in listed]

    def name(self) -> str:
        """The program, and its module where it is Python."""
        words = Path(f"/proc/{self.pid}/cmdline").read_text().split("\0")
        return words[words.index("-m") + 1] if "-m" in words else Path(words[0]).name
