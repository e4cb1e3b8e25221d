"""A free stand-in for the paid providers, over real HTTP, and the embedded stores of the demo and the tests.

It imports nothing of the operator or the worker: what it agrees on with them is the providers' protocols only.
"""
