"""Simulated fal.ai and AssemblyAI over real HTTP, and embedded S3 and MongoDB servers for the demo and the tests.

The package imports nothing of the product: it shares only the providers' protocols with it, by the facts in `facts/`.
"""
