"""Authentication, authorization and visibility, all decided by Kubernetes before any data is returned."""
