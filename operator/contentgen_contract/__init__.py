"""What the operator, the worker and the gateway agree on: resources, keys, work orders, outcomes, records.

Pydantic and the standard library only; no I/O, no client of anything (import-linter holds us to it).
"""
