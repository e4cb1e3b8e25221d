"""Violations of defects that are known and not fixed yet. An entry goes when its defect does: the campaign reports how
often each was seen, and fails for a signature that no entry matches.
"""

KNOWN: dict[str, str] = {
    "one owner per request: another namespace's": "issue 15: of two lost, identical requests the provider took one",
    "a paid result is kept: submitted in the ledger, OutputsDeleted": "issue 15: orphans are not located",
    "a paid result is kept: submitted in the ledger, AdoptedFinishedRun": "money 21: a POST after a freeze",
    "a paid result is kept: without its request id in the ledger": "money 11: not looked for after a resubmission",
}
"""Signature, or the beginning of one -> the finding in money.md or tenants.md."""


def reason_of(signature: str) -> str | None:
    """The finding that accounts for a violation, or None."""
    return next((reason for start, reason in KNOWN.items() if signature.startswith(start)), None)
