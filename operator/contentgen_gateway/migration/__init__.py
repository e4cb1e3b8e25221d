"""The `contentgen` command: backup, restore, import of the legacy service, rollback, namespaces."""
