"""The HTTP API and the pages for the people who use what was made."""
