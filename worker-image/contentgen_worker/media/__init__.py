"""Media processing on local files and plain values, without URLs, worker API or work orders."""
