"""AssemblyAI's API: the part that the operator uses."""
