"""Hostile and broken files, and attempts of a compromised decoder."""
