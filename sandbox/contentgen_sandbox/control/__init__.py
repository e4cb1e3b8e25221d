"""Controls of the sandbox: faults, switches and a status page."""
