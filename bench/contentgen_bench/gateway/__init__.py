"""Benchmark of the gateway under load."""
