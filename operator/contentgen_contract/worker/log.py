"""A worker's log for people: its JSON lines told as text, without secrets, and no longer than a status may hold.

The worker keeps its own tail with these; the operator and `kubectl contentgen logs` use them on a pod's log.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from contentgen_contract.resources.status import MAX_LOG

_CONTEXT = ("time", "level", "jobId", "kind", "stage", "event", "step", "traceback")  # told otherwise, or known
# Each takes time in proportion to a text that may be hostile: what it begins to match it consumes, or is short.
_SECRETS = (
    (re.compile(r"(https?://)[^\s/@\"']+@"), r"\1"),  # a URL's user and password
    (re.compile(r"(https?://[^\s?\"'<>]+)(?:\?[^\s\"'<>]+)?"), r"\1"),  # a query may hold a signature
    (re.compile(r"\bX-Amz-[A-Za-z-]{1,40}+=[^\s&\"']+"), "***"),
    (re.compile(r"(?i)\bbearer\s+[^\s\"']+"), "Bearer ***"),
    # A JSON web token, such as a service account's.
    (re.compile(r"\beyJ[\w-]{1,1024}+\.[\w-]++\.[\w-]*"), "***"),
)
_RETRY_LINE = re.compile(r"^\S+ (again: .*), pause [0-9.]+, attempt \d+$")  # a line of the worker's retry hook
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNIT_STEP = 1000


def format_line(line: str) -> str:
    """One line of a worker's log as text; what is no JSON object of ours is passed on as it is."""
    try:
        text = _format_record(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        text = line.rstrip()  # also what only looks like ours: whoever may exec into a pod writes into its log
    return redact_secrets(text)


def _format_record(record: dict[str, Any]) -> str:
    """Raises one of many errors where a field is not as our worker writes it."""
    what = str(record["step"] if record["event"] == "step" else record["event"])
    time = str(record["time"])[11:19]
    mark = "" if record.get("level") == "info" else f"{record.get('level')}: "
    figures = ", ".join(_format_field(name, value) for name, value in record.items() if name not in _CONTEXT)
    text = f"{time} {mark}{what}{': ' if figures else ''}{figures}"
    return "\n".join(part for part in (text, record.get("traceback", "")) if part)


def collapse_retries(lines: Sequence[str]) -> tuple[str, ...]:
    """Of tries that failed one after another in the same way the last one: its attempt says how many there were."""
    kinds = [found[1] if (found := _RETRY_LINE.match(line)) else None for line in lines]
    pairs = zip(lines, kinds, [*kinds[1:], None], strict=False)
    return tuple(line for line, kind, following in pairs if kind is None or kind != following)


def tail(lines: Sequence[str]) -> str:
    """The last lines (already told) that fit into a status; a single longer one keeps its end."""
    lines = collapse_retries(lines)
    kept: list[str] = []
    room = MAX_LOG
    for line in reversed(lines):
        room -= len(line) + (1 if kept else 0)
        if room < 0:
            break
        kept.insert(0, line)
    return "\n".join(kept) if kept else "".join(lines[-1:])[-MAX_LOG:]


def redact_secrets(text: str) -> str:
    """Without signatures, tokens and passwords."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def printable(text: str) -> str:
    """Without control characters (C0 and C1, but newline and tab), which a terminal would obey."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def human_bytes(size: float) -> str:
    """`999 B`, `12.3 MB`."""
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
            return f"{name.replace('_', ' ')} " + (" ".join(f"{key} {each}" for key, each in value.items()) or "none")
        case _, list():
            return f"{name} " + " ".join(map(str, value))
        case _:
            return f"{name} {value}"
