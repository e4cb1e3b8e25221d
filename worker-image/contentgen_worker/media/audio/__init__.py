"""Audio of a source: track selection, extraction, loudness."""
