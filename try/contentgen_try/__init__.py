"""`contentgen try`: the samples on one machine, without a cluster."""
