"""Custom resources: specs, status, CRDs, and validation of user input. Pure."""
