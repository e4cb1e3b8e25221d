"""Kubernetes: API client, cache of watched objects, Job manifests, causes of pod failures."""
