"""Randomized campaign against the operator in a simulated world: `python -m contentgen_simulation.rehearsal`.

A plan, made from a seed, lists what people do and what fails, and when. The world carries it out on simulated time with
the operator's own code, including the provider adapters over HTTP; the oracles watch every payment, status and file.
"""
