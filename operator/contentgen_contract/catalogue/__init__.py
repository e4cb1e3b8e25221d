"""Models that may be bought, as data: one JSON file for each."""
