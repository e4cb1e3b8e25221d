"""Collect stages: one module per kind; free and light, after the paid call."""
