"""Glossary: words that it replaced occur nowhere, and words that it narrows are used in its sense alone."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# History, licenses, the words of this test, and the former names that recorded plans have.
LEFT_OUT = (":!CHANGELOG.md", ":!*LICENSE*", ":!tests/unit/docs/test_glossary.py", ":!tools/record_rehearsal.py")
OPERATOR = "operator/contentgen_operator"


def lines(pattern: str, *paths: str) -> list[str]:
    """Lines of tracked files that match, as path:line:text; without a path in all files."""
    command = ["git", "grep", "-nIiP", pattern, "--", *(paths or (".",)), *LEFT_OUT]
    found = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode in (0, 1), found.stderr
    return found.stdout.splitlines()


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        (r"desk(?!top)", "worker API"),
        (r"request_claims|FileClaim|ClassClaim|claimed_for", "request_bindings, FileOffer, ClassHolder, bound_to"),
    ],
)
def test_a_replaced_word_occurs_nowhere(pattern: str, instead: str) -> None:
    assert lines(pattern) == [], f"the glossary says {instead}"


def test_only_budgets_have_claims() -> None:
    found = lines(r"\bclaim(s|ed)?\b", OPERATOR, f":!{OPERATOR}/budgets")
    assert [line for line in found if not re.search(r"budget|claims\(case|CLAIM", line)] == []
