"""Objects: write rules, watches, deletion, selection, and the state file."""
