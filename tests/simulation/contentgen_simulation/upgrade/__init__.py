"""Simulated upgrades and rollbacks: two releases of the operator alternate on the same stores."""
