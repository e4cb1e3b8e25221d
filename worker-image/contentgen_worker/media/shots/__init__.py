"""Shot boundaries: detectors for cuts and transitions, and the shots between them."""
