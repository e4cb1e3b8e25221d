"""Errors that end a command of the release."""


class ReleaseError(Exception):
    """Error message for the user; the text says what to do."""
