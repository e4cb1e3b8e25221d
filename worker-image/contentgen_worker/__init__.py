"""The pipeline container: prepare and collect, one stage a process.

Knows the work order it is given and nothing else: no Kubernetes, no MongoDB, no key of anything.
"""
