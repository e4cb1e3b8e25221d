"""Leader election with a Lease of coordination.k8s.io/v1 (docs/decisions/0023-leader-election.md).

`election` decides, `elector` reads and writes the Lease, `thread` runs that beside the event loop, and `leadership` is
what the rest of the operator asks before it sends a paid request.
"""
