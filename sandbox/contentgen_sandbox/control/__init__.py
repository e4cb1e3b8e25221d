"""Controls of the sandbox: faults and store switches."""
