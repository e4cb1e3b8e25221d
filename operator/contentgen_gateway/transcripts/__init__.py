"""Search index of finished transcripts: passages, and the task that indexes them."""
