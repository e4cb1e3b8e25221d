"""Authentication by bearer tokens, and a fixed list of rights."""
