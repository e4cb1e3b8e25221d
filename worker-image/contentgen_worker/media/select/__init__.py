"""Frame selection: quality, near-duplicates, faces, borders, and the pictures that are kept."""
