"""Stored documents and objects: records of jobs, ledger states, S3 keys and their owners. Pure."""
