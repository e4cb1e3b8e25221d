"""Watches of the API server: kopf handlers, which resource an event wakes, and liveness of the watches."""
