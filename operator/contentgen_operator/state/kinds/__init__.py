"""Behaviour of each kind: one module per kind, and the table of them. Pure."""
