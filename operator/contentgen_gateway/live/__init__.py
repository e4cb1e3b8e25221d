"""Unfinished jobs: snapshots from watches of the API server, and requests for their resources."""
