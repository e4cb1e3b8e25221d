"""A run of `contentgen try` as a child process, and what it prints."""

import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 600


@dataclass
class TryRun:
    """A started command, and what it has printed."""

    process: subprocess.Popen[bytes]
    output: Path
    patience: float = field(default=SECONDS)

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def until(self, ready: Callable[[str], object]) -> str:
        """Output, once `ready` says so."""
        deadline = time.monotonic() + self.patience
        while not ready(self.said):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)
        return self.said

    def ended(self) -> int:
        """Exit code."""
        return self.process.wait(self.patience)

    def kill(self) -> None:
        """`kill -9` of the command alone; its programs end with it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def match(self, pattern: str) -> str:
        """Group of a pattern in the output, awaited."""
        found = re.search(pattern, self.until(lambda said: re.search(pattern, said)))
        assert found is not None
        return found[1]


Start = Callable[..., TryRun]
