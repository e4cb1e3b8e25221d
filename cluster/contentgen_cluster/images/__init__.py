"""Container images and programs for the cluster: what they are built from, and how."""
