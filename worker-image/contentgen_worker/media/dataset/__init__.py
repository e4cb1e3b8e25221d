"""Training sets: files, captions and the contact sheet."""
