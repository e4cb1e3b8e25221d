"""Search index of finished transcripts: splitting into passages, storage, and the indexing task."""
