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
        (r"PurchaseStep|OrphanStep|next_step\b", "SendState, OrphanEffect: a step is a part of a run that users see"),
        (r"(?<!console\.)(?<!steps)\.step\(|\bstep\W+(planned|sending|abandoned)\b", "reconcile, sendState"),
        (r"SettledCheck|is_settled|world\.settled?\(|item\.settled|windows.{9,40}settled", "finished, spent, idle"),
    ],
)
def test_a_replaced_word_occurs_nowhere(pattern: str, instead: str) -> None:
    assert lines(pattern) == [], f"the glossary says {instead}"


@pytest.mark.parametrize(
    ("pattern", "paths", "permitted"),
    [
        (r"\bclaim(s|ed)?\b", (OPERATOR, f":!{OPERATOR}/budgets"), r"budget|claims\(case|CLAIM"),
        (
            r"settl",
            ("operator", "worker-image", "cli", "try", "cluster"),
            r"charge|bill|cost|ledger|Unsettled|settlement|htmx|self\._settled|(note|observe)_settled",
        ),
        (r"^class \w*Policy\b", ("operator", "worker-image"), r"class (DeletionPolicy|RetryPolicy)\b"),
        (  # files and folders that have no purchase
            r"adopt(?!ion_?seconds)",
            (
                "try",
                "cluster",
                "release",
                "sandbox",
                "worker-image",
                "README.md",
                "docs/upgrade.md",
                "docs/benchmarks.md",
            ),
            "purchase|request|run|image",
        ),
        (  # of a run, by its type or its holder; a provider's training steps are units
            r"steps?\b",
            (OPERATOR,),
            r"\bStep\b|Unit\.STEP|_step\b|e\.step|report\.step|\.progress|(later|1000) steps|and step|training|units",
        ),
    ],
)
def test_a_narrowed_word_has_one_meaning(pattern: str, paths: tuple[str, ...], permitted: str) -> None:
    assert [line for line in lines(pattern, *paths) if not re.search(permitted, line)] == []
