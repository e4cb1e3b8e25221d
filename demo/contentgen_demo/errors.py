"""Errors that end the demo early."""


class DemoError(Exception):
    """Error message for the user; the text says what to do."""
