"""Policies of a run before its payment: one module for each, named as users name it; `gate` has their order."""
