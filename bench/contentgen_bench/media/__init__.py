"""Benchmark of the media engine: speed against pure decoding, boundaries and frames against truth."""
