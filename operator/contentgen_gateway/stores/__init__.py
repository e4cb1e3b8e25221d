"""Queries and writes of MongoDB and S3, with their typed arguments and results."""
