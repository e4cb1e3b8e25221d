"""Authentication, authorization and visibility. Kubernetes decides; nothing is read before it has."""
