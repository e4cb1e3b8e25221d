"""Shot detection: detectors of cuts and transitions, and the best frames of each shot."""
