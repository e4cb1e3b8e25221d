"""A provider's key: a file mounted from a Secret that may be missing, and may be rotated at any time."""

from pathlib import Path


class KeyFile:
    """Reads the key anew for each use."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def read(self) -> str | None:
        """The key, or None where the Secret or its entry is missing."""
        try:
            return self._path.read_text().strip() or None
        except (FileNotFoundError, NotADirectoryError):
            return None
