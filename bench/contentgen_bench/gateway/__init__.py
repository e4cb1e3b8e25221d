"""Load test of the gateway."""
