"""Audio of a recording: track selection, extraction, loudness."""
