"""Policies, one module for each, named as users name it. `gate` has the order of those before a payment."""
