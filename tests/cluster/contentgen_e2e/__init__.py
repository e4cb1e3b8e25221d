"""Support of the end-to-end tests: access to the release and its stores, and the oracle of invariants."""
