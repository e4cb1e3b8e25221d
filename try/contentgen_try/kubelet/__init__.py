"""Job runner: runs the pods of Jobs as local processes."""
