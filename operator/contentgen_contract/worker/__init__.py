"""Messages between operator and worker: work orders, reports, logs. Pure."""
