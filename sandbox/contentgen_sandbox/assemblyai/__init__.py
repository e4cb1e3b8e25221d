"""AssemblyAI's API, as far as the operator uses it."""
