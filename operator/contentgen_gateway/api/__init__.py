"""HTTP routes of the JSON API."""
