"""Confined child processes that open untrusted media: limits, seccomp and namespaces, and the fork server."""
