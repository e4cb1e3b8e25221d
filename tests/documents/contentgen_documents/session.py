"""Shell session that runs documented commands in one folder and records their results.

Exported variables persist. A command that ends only at Ctrl-C (a watch, a port-forward) runs until the session is
closed, and must have printed something by then.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contentgen_documents.extract import Command

_SECONDS = 300  # longer than any of these takes: `helm test` waits for pods
_START_SECONDS = 60
_WATCHES = re.compile(r"\bkubectl get .*(?: -w| --watch)\b")
_FORWARDS = re.compile(r"\bport-forward\b")
_EVAL = re.compile(r"^eval ")
_EXPORTED = re.compile(r"^export (\w+)=")
_SCRIPT = """set -a
[ ! -e "$SESSION" ] || . "$SESSION"
{text}
codes=("${{PIPESTATUS[@]}}")
{check}
export -p > "$SESSION"
for code in "${{codes[@]}}"; do [ "$code" = 0 ] || exit "$code"; done
"""
_LENT = """test -f "$KUBECONFIG" && kubectl version && helm version && kubectl contentgen version || codes+=("$?")
unset KUBECONFIG"""


@dataclass(frozen=True)
class Said:
    """Result of a command; the problem is empty on success."""

    command: Command
    typed: str
    problem: str
    output: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.command.file}:{self.command.line}: {self.typed}: {self.problem}\n{self.output[-2000:]}"


class _Running:
    """Running command that ends at Ctrl-C."""

    def __init__(self, text: str, folder: Path, environment: Mapping[str, str], stem: str) -> None:
        self.began = time.monotonic()
        self._output, self._errors = folder / f"{stem}.out", folder / f"{stem}.err"
        script = f'[ ! -e "$SESSION" ] || . "$SESSION"\nexec {text.rstrip("& ")}'
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                ["bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=errors, start_new_session=True,
            )  # fmt: skip

    def wait(self) -> None:
        """Wait until it prints something or ends."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._output.stat().st_size and self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def close(self) -> tuple[str, str]:
        """Send Ctrl-C; returns the problem and the output."""
        code = self._process.poll()
        if code is None:
            os.killpg(self._process.pid, signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        said = self._output.read_text()
        problem = f"ended by itself with {code}" if code else "" if said else "said nothing"
        return problem, said + self._errors.read_text()


class Session:
    """Shell session of `open_session`. `said` has an entry for each finished command."""

    def __init__(self, folder: Path, environment: Mapping[str, str], name: str) -> None:
        self.said: list[Said] = []
        self._folder, self._name = folder, f".session-{name}"
        self._environment = {**environment, "SESSION": str(folder / self._name)}
        self._running: list[tuple[Command, str, _Running]] = []

    def type(self, command: Command, text: str) -> None:
        """Run one command to its end; a watch or port-forward is only started."""
        if not (_WATCHES.search(text) or _FORWARDS.search(text)):
            began = time.monotonic()
            problem, output = self._run(text)
            self.said.append(Said(command, text, problem, output, time.monotonic() - began))
            return
        running = _Running(text, self._folder, self._environment, f"{self._name}-{len(self._running)}")
        self._running.append((command, text, running))
        if _FORWARDS.search(text):
            running.wait()

    def end(self) -> None:
        """Send Ctrl-C to running commands, once they have printed something."""
        for command, text, running in self._running:
            running.wait()
            problem, output = running.close()
            self.said.append(Said(command, text, problem, output, time.monotonic() - running.began))
        self._running = []

    def _run(self, text: str) -> tuple[str, str]:
        check = ""
        if _EVAL.match(text):
            check, text = _LENT, f"unset KUBECONFIG\n{text}"
        elif exported := _EXPORTED.match(text):
            check = f'[ -n "${exported[1]}" ] || codes+=(1)'
        script = _SCRIPT.format(text=text, check=check)
        try:
            done = subprocess.run(
                ["bash", "-c", script], cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"has not ended within {_SECONDS} s", ""
        return (f"exit status {done.returncode}" if done.returncode else ""), done.stdout + done.stderr


@contextmanager
def open_session(folder: Path, environment: Mapping[str, str], name: str) -> Iterator[Session]:
    """Shell in a folder, which sessions may share; all its processes end with the context."""
    session = Session(folder, environment, name)
    try:
        yield session
    finally:
        session.end()
