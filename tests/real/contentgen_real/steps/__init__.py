"""The steps, by the service that they ask."""
