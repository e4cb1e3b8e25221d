"""Violations of known, unfixed defects, and documented limits. An entry is removed with its defect. The campaign counts
each and fails for a signature without an entry.
"""

KNOWN: dict[str, str] = {
    "a paid result is kept: sent by a wrong clock": "money 28: the search's window is by the clock of the POST",
    "a paid result is kept: sent after a freeze and a": "money 21: the POST that no ledger expects any more",
    "one POST per purchase: after a restore of bucket and mongo, its resource is gone": "docs/backup.md: not known",
    "one POST per purchase: after a restore of bucket and etcd and mongo": "docs/backup.md: no store knows it",
    "cost equals the bill: after a restore of bucket and etcd and mongo": "docs/backup.md: no store knows it",
}
"""Signature, or the beginning of one -> the finding in money.md or tenants.md, or the document."""


def reason_of(signature: str) -> str | None:
    """Known defect that explains a violation; None if unknown."""
    return next((reason for start, reason in KNOWN.items() if signature.startswith(start)), None)
