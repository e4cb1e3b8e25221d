"""Subprocess calls: silent on success, with the end of the output on failure."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

Argument = str | Path
Written = TypeVar("Written")


class ClusterError(Exception):
    """Error message for the user; the text says what to do."""


class CommandError(ClusterError):
    """A program failed; the message has the end of its output, `output` all of it."""

    def __init__(self, text: str, output: str = "") -> None:
        super().__init__(text)
        self.output = output


def run(
    *command: Argument,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Standard output of a program that must succeed; `env` extends the environment."""
    argv = [str(part) for part in command]
    try:
        done = subprocess.run(
            argv,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError:
        raise CommandError(f"{argv[0]}: program not found") from None
    if done.returncode:
        output = (done.stderr + done.stdout).decode(errors="replace").strip()
        end = output.splitlines()[-25:]
        raise CommandError("\n".join([f"failed ({done.returncode}): {_short(argv)}", *end]), output)
    return done.stdout.decode(errors="replace")


def feed(command: Sequence[Argument], write: Callable[[IO[bytes]], Written]) -> Written:
    """Run a program that must succeed, with `write` writing its standard input; returns the result of `write`."""
    argv = [str(part) for part in command]
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=said, stderr=said) as process:
            if process.stdin is None:
                raise CommandError(f"no pipe to {_short(argv)}")
            written = None
            with suppress(BrokenPipeError), process.stdin:  # after an early exit, its stderr has the cause
                written = write(process.stdin)
        if process.returncode or written is None:
            said.seek(0)
            end = said.read().decode(errors="replace").strip().splitlines()[-25:]
            raise CommandError("\n".join([f"failed ({process.returncode}): {_short(argv)}", *end]))
    return written


def succeeds(*command: Argument, env: Mapping[str, str] | None = None) -> bool:
    """Whether a program exists and succeeds."""
    try:
        run(*command, env=env)
    except CommandError:
        return False
    return True


def _short(argv: Sequence[str]) -> str:
    line = " ".join(argv)
    return line if len(line) < 300 else line[:300] + " …"
