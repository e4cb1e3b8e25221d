"""`make facts-due`: facts about providers that were compared with their sources more than 90 days ago.

It reports and does not fail: exit status 0. A fact without a readable date counts as due.
"""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

FACTS = Path(__file__).resolve().parent.parent / "facts"
MAX_AGE = timedelta(days=90)


def read_on(text: str) -> date | None:
    """Date of a fact's last comparison with its sources; None if there is none."""
    try:
        return date.fromisoformat(json.loads(text)["readOn"])
    except (ValueError, KeyError, TypeError):
        return None


def due(facts: Path, today: date) -> Iterator[tuple[str, date | None]]:
    """Name and date of each due fact, without a date first, then the oldest."""
    dates = {str(path.relative_to(facts)): read_on(path.read_text()) for path in facts.rglob("*.json")}
    old = [(name, read) for name, read in dates.items() if read is None or today - read > MAX_AGE]
    return iter(sorted(old, key=lambda fact: (fact[1] or date.min, fact[0])))


def report(facts: Path, today: date) -> str:
    """One line for each due fact, or that there are none."""
    lines = [f"{read.isoformat() if read else 'no date':<10}  {name}" for name, read in due(facts, today)]
    return "\n".join(lines) or f"no fact is older than {MAX_AGE.days} days"


if __name__ == "__main__":
    print(report(FACTS, datetime.now(UTC).date()))
