"""fal's queue API: the part that the operator uses, and the models' outputs."""
