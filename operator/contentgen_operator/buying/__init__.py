"""Buying: it is paused by an administrator, and stops while too many paid results are not stored.

`values` says when it stops, `stops` begins and ends stops, `gate` holds runs, and `metrics` shows both. Results that
count have a mark in the ledger (`decide/policies/awaited_results.py`).
"""
