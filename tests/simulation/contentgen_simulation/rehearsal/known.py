"""Violations of defects that are known and not fixed yet. An entry goes when its defect does: the campaign reports how
often each was seen, and fails for a signature that no entry matches.
"""

KNOWN: dict[str, str] = {
    "a paid result is kept: sent by a wrong clock": "money 28: the search's window is by the clock of the POST",
    "a paid result is kept: sent after a freeze and a": "money 21: the POST that no ledger expects any more",
}
"""Signature, or the beginning of one -> the finding in money.md or tenants.md."""


def reason_of(signature: str) -> str | None:
    """The finding that accounts for a violation, or None."""
    return next((reason for start, reason in KNOWN.items() if signature.startswith(start)), None)
