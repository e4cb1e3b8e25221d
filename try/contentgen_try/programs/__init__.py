"""Programs that `contentgen try` starts: API server, stores, sandbox, operator, gateway."""
