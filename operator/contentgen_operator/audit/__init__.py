"""Audit: comparison of the providers' requests, bills and prices with the ledger. Pure."""
