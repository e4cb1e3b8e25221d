"""Kubernetes cluster for the tests, set up from scratch: `python -m contentgen_cluster up`."""
