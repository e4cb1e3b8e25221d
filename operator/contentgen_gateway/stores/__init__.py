"""Reads and writes of MongoDB and S3, and the values that they are given and return."""
