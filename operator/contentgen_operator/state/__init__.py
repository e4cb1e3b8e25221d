"""Values that a decision is made from and results in. Frozen and pure."""
