"""Key file of a provider, mounted from a Secret; it may be missing, and may be rotated at any time."""

from pathlib import Path

from contentgen_runtime.rotation import read_files


class KeyFile:
    """File with a key, read for each use."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def read(self) -> str | None:
        """The key; None if the Secret or its entry is missing, empty or unreadable."""
        found = read_files(self._path.parent, (self._path.name,))
        return found[0] if found else None
