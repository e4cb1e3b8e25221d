"""Definitions shared by operator, worker, gateway and plugin: resources, keys, work orders, outcomes, records.

Requires pydantic and the standard library only. No I/O and no clients (enforced by import-linter).
"""
