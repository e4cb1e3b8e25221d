"""Worker container: runs one stage, prepare or collect, per process.

Its only input is the work order. It has no Kubernetes client, no MongoDB client and no credentials.
"""
