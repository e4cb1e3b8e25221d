"""The annotation contentgen.dev/collect, whose values request a repetition of a run's collect stage. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from contentgen_contract.names import Phase

_VALUE = re.compile(r"([1-9][0-9]{0,8})(?:-[A-Za-z0-9._-]{1,48})?", re.ASCII)


def run_number_of(value: str) -> int | None:
    """Run number of a value `<run>` or `<run>-<anything>`; None for any other text."""
    found = _VALUE.fullmatch(value)
    return int(found[1]) if found else None


def next_value(number: int, asked: str | None) -> str:
    """A value that was not used before. `asked`: the value that was used last; None: none."""
    if asked is None or run_number_of(asked) != number:
        return str(number)
    last = re.fullmatch(r"[0-9]+-([0-9]{1,9})", asked)
    return f"{number}-{int(last[1]) + 1 if last else 2}"


def requests_collect(value: str | None, run: dict[str, Any]) -> bool:
    """True if a value names a run (`status.run`, JSON) and was not used before.

    The caller checks that the run has failed, or misses outputs.
    """
    asked = (run.get("collect") or {}).get("asked")
    return value is not None and value != asked and run_number_of(value) == run.get("number")


def misses_outputs(status: Mapping[str, Any]) -> bool:
    """True if the run of a status (JSON) is completed without some outputs of the provider's answer."""
    number, job = (status.get("run") or {}).get("version"), status.get("jobId")
    made: Mapping[str, Any] = next(
        (version for version in status.get("versions") or () if version.get("version") == number), {}
    )
    own = made.get("jobId") in (None, job)  # an adopted version is another resource's
    return status.get("phase") == Phase.COMPLETED and own and bool((made.get("facts") or {}).get("missing"))
