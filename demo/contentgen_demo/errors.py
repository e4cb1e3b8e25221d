"""What ends the demo early."""


class DemoError(Exception):
    """Something that the user has to know; its text says what to do."""
