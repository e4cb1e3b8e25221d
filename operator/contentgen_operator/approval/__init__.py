"""Approval: a run waits before its payment until a user approves or rejects it (docs/decisions/0031)."""
