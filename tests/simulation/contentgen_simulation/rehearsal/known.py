"""Violations of defects that are known and not fixed yet. An entry goes when its defect does: the campaign reports how
often each was seen, and fails for a signature that no entry matches.
"""

KNOWN: dict[str, str] = {
    "cost equals the bill: a training's steps": "money 22: actual copies the estimate",
    "cost equals the bill: several requests": "money 22: several POSTs show one price",
    "cost equals the bill: fewer pictures than asked for": "money 22: actual copies the estimate",
    "cost equals the bill: ImageGeneration Completed": "money 5: another's request was adopted, with another count",
    "one owner per request: an earlier namespace's": "issue 15: a re-created namespace adopts",
    "one POST per purchase: after a restore of etcd and mongo": "issue 15: no marker in the bucket",
    "one POST per purchase: after a restore of mongo": "money 4: the ledger forgot what may be paid",
    "one POST per purchase: after a restore of bucket and mongo": "money 4: likewise",
    "a paid result is kept: submitted in the ledger, DeadlineExceeded": "money 12: a deadline abandons the result",
    "the response matches the request: another request's answer is stored": "money 1: an answer was overwritten",
    "the response matches the request: language_code differs, of the resource": "money 1: an answer was overwritten",
    "the response matches the request: prompt differs, of the resource": "money 1: an answer was overwritten",
    "the response matches the request: steps differs, of the resource": "money 1: an answer was overwritten",
    "a paid result is kept: collected in the ledger, Completed": "money 1: collected from another's answer",
    "the response matches the request: num_images differs, bought": "money 5: adopted by seed and prompt alone",
    "files of a Completed resource: AdoptedFinishedRun": "money 3: no HEAD after adoption",
    "files of a Completed resource: Completed, after a restore": "money 3: no HEAD of what is collected",
    "reconciled once a second at most: history, LookingForRequest": "money 12: a deadline while the reply is lost",
    "reconciled once a second at most: Processing": "found here: a clock set back polls every half second, to its time",
    "reconciled once a second at most: Preparing, two operators": "found here: stale worker_jobs in two processes",
    "reconciled once a second at most: Collecting, two operators": "found here: stale worker_jobs in two processes",
    "one POST per purchase: the ledger has the first as failed": "money 6: gone is read as failed",
    "a paid result is kept: submitted in the ledger, no resource": "issue 15: orphans are not located",
    "a paid result is kept: submitted in the ledger, Completed": "issue 15: orphans are not located",
    "a paid result is kept: submitted in the ledger, AdoptedFinishedRun": "money 21: a POST after a freeze",
    "a paid result is kept: it is overwritten": "money 1: the key of an answer has the resource's run number",
    "cost equals the bill: billed is False, Cancelled": "money 23: an earlier attempt was billed",
    "reconciled once a second at most: history, SubmissionUnknown": "money 12: likewise, with a deadline that is over",
    "a paid result is kept: without its request id in the ledger": "money 11: not looked for after a resubmission",
    "phases move forward: Processing to Preparing": "money 4: found again, and the status has no request id yet",
    "phases move forward: Submitting to Preparing": "found here: resubmission after a takeover prepares anew",
}
"""Signature, or the beginning of one -> the finding in money.md or tenants.md."""


def reason_of(signature: str) -> str | None:
    """The finding that accounts for a violation, or None."""
    return next((reason for start, reason in KNOWN.items() if signature.startswith(start)), None)
