"""Annotations for requests of users: their values and meanings. Pure."""
