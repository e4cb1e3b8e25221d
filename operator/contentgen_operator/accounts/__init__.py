"""Provider accounts: the account that pays for a namespace, by a label on it (docs/decisions/0037).

`values` reads the label, and `gate` holds a run without a usable account. The clients of the accounts are those of the
providers (`providers/accounts.py`).
"""
