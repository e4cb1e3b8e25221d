"""Mutation campaign over recorded answers of the providers, read by the real clients."""
