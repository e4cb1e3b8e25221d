"""Tasks of the leader beside reconciles: orphans, charges, resources of namespaces that left."""
