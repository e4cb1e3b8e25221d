"""Schemas of the reports on many jobs."""
