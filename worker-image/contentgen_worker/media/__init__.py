"""Media on plain values and local files: nothing here knows a URL, the desk or a work order."""
