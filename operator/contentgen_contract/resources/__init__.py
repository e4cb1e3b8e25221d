"""Custom resources: specs, status, CRDs, and the checks of what users write. Pure."""
