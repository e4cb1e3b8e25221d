"""Facts about the providers, and validation of requests by their JSON Schemas."""
