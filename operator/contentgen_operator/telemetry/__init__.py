"""Health endpoints, counted calls, and errors for Sentry."""
