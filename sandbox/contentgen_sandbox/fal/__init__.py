"""fal's queue API, as far as the operator uses it, and its models' outputs."""
