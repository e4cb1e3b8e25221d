"""ASGI middleware around every request: headers, access log, rate limits, timeouts, body limits."""
