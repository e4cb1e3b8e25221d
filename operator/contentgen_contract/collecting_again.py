"""The annotation contentgen.dev/collect: the values that ask for the collect stage of a run once more. Pure."""

import re
from typing import Any

_VALUE = re.compile(r"([1-9][0-9]{0,8})(?:-[A-Za-z0-9._-]{1,48})?", re.ASCII)
MAX_VALUE = 64  # characters


def run_named(value: str) -> int | None:
    """The run number in `<run>` or `<run>-<anything>`; None for any other text."""
    found = _VALUE.fullmatch(value)
    return int(found[1]) if found else None


def next_value(number: int, attempt: int, asked: str | None) -> str:
    """A value that was not used before. `attempt` is the run's stage attempt, which each retry raises; `asked` is the
    value that was used last, None for none.
    """
    return str(number) if asked is None else f"{number}-{attempt}"


def asks(value: str | None, run: dict[str, Any]) -> bool:
    """Whether a value asks for a retry of a run (`status.run`, JSON) that has failed, and has not been used."""
    asked = (run.get("collect") or {}).get("asked")
    return value is not None and value != asked and run_named(value) == run.get("number")
