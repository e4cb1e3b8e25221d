"""The operator in a world in memory, for the tests of what it does when things go wrong."""
