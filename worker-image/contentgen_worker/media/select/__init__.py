"""Choice of training pictures: quality, faces, borders, hashes, and JPEG encoding."""
