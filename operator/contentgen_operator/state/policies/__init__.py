"""Values of the policies."""
