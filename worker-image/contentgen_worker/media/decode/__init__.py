"""Decoding in confined children: probing, frames, planes, pictures, and their limits."""
