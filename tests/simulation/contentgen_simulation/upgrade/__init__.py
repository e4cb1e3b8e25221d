"""Upgrades and rollbacks in the simulated world: two releases of the operator work on the same stores, in turn."""
