"""Corpus of real conditions: recordings with known sounds, and answers of a speech recognition with known subtitles."""
