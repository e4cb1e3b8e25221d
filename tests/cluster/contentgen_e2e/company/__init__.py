"""A company's network around the cluster, for tests."""
