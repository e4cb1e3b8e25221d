"""Near-duplicates: labelled pairs of pictures, and the measures that were compared on them."""
