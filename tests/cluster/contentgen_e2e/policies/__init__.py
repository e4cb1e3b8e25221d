"""Helpers of the cluster tests of policies."""
