"""Benchmarks of the operator: latency of one job, throughput, memory, soak."""
