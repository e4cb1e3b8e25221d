"""In-memory simulation of the operator and its dependencies, for tests of failures."""
