"""Prepare stages: one module per kind; free and CPU-bound, before the paid call."""
