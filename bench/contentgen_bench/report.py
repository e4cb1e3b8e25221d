"""Report of a benchmark: rows of {figure, value, unit, goal, holds}, as JSON and as a table."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from contentgen_contract.base import Value

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build/bench"


class Row(Value):
    """One figure. `goal` is a bound; None if the figure has none."""

    figure: str
    value: float
    unit: str
    goal: float | None = None
    bound: Literal["at most", "at least"] = "at most"
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.bound == "at most" else self.value >= self.goal


def write(name: str, rows: Sequence[Row]) -> Path:
    """Write `build/bench/NAME.json`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps([_plain(row) for row in rows], indent=1, ensure_ascii=False) + "\n")
    return path


def table(rows: Sequence[Row]) -> str:
    """Markdown table of the rows."""
    lines = ["| figure | value | goal | holds |", "| --- | --- | --- | --- |"]
    for row in rows:
        holds = {True: "yes", False: "**no**", None: ""}[row.holds]
        note = f" ({row.note})" if row.note else ""
        lines.append(f"| {row.figure}{note} | {_number(row.value)} {row.unit} | {_goal(row)} | {holds} |")
    return "\n".join(lines)


def document(name: str, rows: Sequence[Row], path: Path = ROOT / "docs/benchmarks.md") -> None:
    """Write the table between the document's `<!-- NAME -->` and `<!-- /NAME -->`."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = path.read_text()
    head, tail = text[: text.index(begin) + len(begin)], text[text.index(end) :]
    date = datetime.now(UTC).date().isoformat()
    path.write_text(f"{head}\n{table(rows)}\n\nMeasured on {date}, {os.cpu_count()} cores.\n{tail}")


def verdict(rows: Sequence[Row]) -> int:
    """Exit code: 1 if a goal is missed."""
    return int(any(row.holds is False for row in rows))


def load() -> str:
    """Load average of the machine."""
    return " ".join(f"{each:.1f}" for each in os.getloadavg())


def _plain(row: Row) -> dict[str, object]:
    goal = None if row.goal is None else _goal(row)
    plain = {"figure": row.figure, "value": row.value, "unit": row.unit, "goal": goal, "holds": row.holds}
    return plain | ({"note": row.note} if row.note else {})


def _goal(row: Row) -> str:
    if row.goal is None:
        return ""
    return f"{'≤' if row.bound == 'at most' else '≥'} {_number(row.goal)} {row.unit}"


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.2f}"
