"""Confined child processes for untrusted media: resource limits, landlock, seccomp, and the fork server."""
