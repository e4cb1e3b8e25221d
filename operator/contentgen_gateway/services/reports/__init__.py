"""Reports on many jobs: usage, given-up work, audits."""
