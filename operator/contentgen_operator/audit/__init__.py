"""Audit: requests and bills of the provider accounts against the ledger, daily and on request (docs/decisions/0036).

In the order of an audit: `rounds` reads the accounts by `providers/audited.py`, and the ledger by `store`; `facts` are
all that it has read, in which `comparison` finds the differences. `store` keeps the report, and `metrics` shows it.
"""
