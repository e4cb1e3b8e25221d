"""Corpus of real conditions: small recordings with stated truth, made with PyAV."""
