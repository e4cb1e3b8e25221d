"""Meaning of phases, conditions and reasons, and remedies for users. Pure."""
