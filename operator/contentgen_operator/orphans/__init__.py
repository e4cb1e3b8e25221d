"""Orphans: purchases that may be paid, are not collected, and whose resource is gone.

In the order of a round: `rounds` reads the purchases and their resources, `following` says whether a resource follows a
purchase, `effects` what is next, `transitions` what the ledger has then.
"""
