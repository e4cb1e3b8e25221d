"""The free, heavy stage before the paid call: one module for each kind."""
