"""A real Kubernetes cluster for the tests, from nothing: `python -m contentgen_cluster up`."""
