"""Builds of container images and programs for the cluster."""
