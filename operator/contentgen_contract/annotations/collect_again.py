"""The annotation contentgen.dev/collect: the values that ask for the collect stage of a run once more. Pure."""

import re
from typing import Any

_VALUE = re.compile(r"([1-9][0-9]{0,8})(?:-[A-Za-z0-9._-]{1,48})?", re.ASCII)


def run_number_of(value: str) -> int | None:
    """The run number in `<run>` or `<run>-<anything>`; None for any other text."""
    found = _VALUE.fullmatch(value)
    return int(found[1]) if found else None


def next_value(number: int, asked: str | None) -> str:
    """A value other than `asked`, which was used last for this run; None: none was."""
    if asked is None or run_number_of(asked) != number:
        return str(number)
    last = re.fullmatch(r"[0-9]+-([0-9]{1,9})", asked)
    return f"{number}-{int(last[1]) + 1 if last else 2}"


def requests_collect(value: str | None, run: dict[str, Any]) -> bool:
    """Whether a value asks for a retry of a run (`status.run`, JSON) that has failed, and has not been used."""
    asked = (run.get("collect") or {}).get("asked")
    return value is not None and value != asked and run_number_of(value) == run.get("number")
