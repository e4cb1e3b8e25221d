"""Artifacts of a release. Each function writes the same bytes for the same sources."""
