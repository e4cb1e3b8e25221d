"""A worker's log as text: JSON lines formatted, secrets redacted, truncated to the size limit of a status. Pure.

The worker applies it to its own last lines; the operator and `kubectl contentgen logs` to a pod's log.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from contentgen_contract.resources.status import MAX_LOG

_CONTEXT = ("time", "level", "jobId", "kind", "stage", "event", "step", "traceback")  # formatted separately, or omitted
# Each pattern is linear in a possibly hostile text: a partial match is possessive, or short.
_SECRETS = (
    (re.compile(r"(https?://)[^\s/@\"']+@"), r"\1"),  # user and password in a URL
    (re.compile(r"(https?://[^\s?\"'<>]+)(?:\?[^\s\"'<>]+)?"), r"\1"),  # a query may contain a signature
    (re.compile(r"\bX-Amz-[A-Za-z-]{1,40}+=[^\s&\"']+"), "***"),
    (re.compile(r"(?i)\bbearer\s+[^\s\"']+"), "Bearer ***"),
    # A JSON web token, such as that of a service account.
    (re.compile(r"\beyJ[\w-]{1,1024}+\.[\w-]++\.[\w-]*"), "***"),
)
_RETRY = "again"  # event of the worker's retry hook
_UNIT_STEP = 1000


class LogLine(NamedTuple):
    """A line of a worker's log for people."""

    text: str
    retried: str | None = None  # error of a try that is repeated; None: the line is about something else


def parse_line(line: str) -> LogLine:
    """One log line, with secrets redacted; the text of a line in another format is otherwise unchanged."""
    try:
        record = json.loads(line)
        text, error = _format_record(record), record.get("error") if record["event"] == _RETRY else None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        text, error = line.rstrip(), None  # also a forged line: anybody with exec rights writes into the pod's log
    return LogLine(redact_secrets(text), redact_secrets(error) if isinstance(error, str) else None)


def format_line(line: str) -> str:
    """Text of one log line."""
    return parse_line(line).text


def _format_record(record: dict[str, Any]) -> str:
    """Raises various errors for a record that our worker did not write."""
    what = str(record["step"] if record["event"] == "step" else record["event"])
    time = str(record["time"])[11:19]
    mark = "" if record.get("level") == "info" else f"{record.get('level')}: "
    figures = ", ".join(_format_field(name, value) for name, value in record.items() if name not in _CONTEXT)
    text = f"{time} {mark}{what}{': ' if figures else ''}{figures}"
    return "\n".join(part for part in (text, record.get("traceback", "")) if part)


def collapse_retries(lines: Sequence[LogLine]) -> tuple[str, ...]:
    """Texts without repeated failures of the same kind, except the last, which has the attempt number."""
    following = [*(line.retried for line in lines[1:]), None]
    pairs = zip(lines, following, strict=False)
    return tuple(pair.text for pair, then in pairs if pair.retried is None or pair.retried != then)


def tail(given: Sequence[LogLine]) -> str:
    """Texts of the last lines within `MAX_LOG` characters; the end of the last line if it alone is longer."""
    lines = collapse_retries(given)
    kept: list[str] = []
    room = MAX_LOG
    for line in reversed(lines):
        room -= len(line) + (1 if kept else 0)
        if room < 0:
            break
        kept.insert(0, line)
    return "\n".join(kept) if kept else "".join(lines[-1:])[-MAX_LOG:]


def redact_secrets(text: str) -> str:
    """The text without signatures, tokens and passwords."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def human_bytes(size: float) -> str:
    """Size with a decimal unit: `999 B`, `12.3 MB`."""
    for unit in ("B", "kB", "MB"):
        if size < _UNIT_STEP:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _UNIT_STEP
    return f"{size:.1f} GB"


def _format_field(name: str, value: object) -> str:
    match name, value:
        case "bytes", int() | float():
            return human_bytes(value)
        case "seconds", int() | float():
            return f"{value:.1f} s"
        case (("error" | "message"), str()):
            return value
        case _, dict():
            return f"{name.replace('_', ' ')} " + (
                " ".join(f"{key} {member}" for key, member in value.items()) or "none"
            )
        case _, list():
            return f"{name} " + " ".join(map(str, value))
        case _:
            return f"{name} {value}"
