"""The free, light stage after the paid call: one module for each kind."""
