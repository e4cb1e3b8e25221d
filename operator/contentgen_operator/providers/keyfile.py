"""Key files of providers, mounted from Secrets; each may be missing, and may be rotated at any time."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class ProviderKeys:
    """Key files of one account at one provider. The first existing key of a list is used."""

    paid: KeyFile
    billing: KeyFile
    audit: KeyFile

    @classmethod
    def in_folder(cls, folder: Path, provider: str) -> "ProviderKeys":
        """The files of a mounted Secret."""
        names = f"{provider}-key", f"{provider}-billing-key", f"{provider}-audit-key"
        return cls(*(KeyFile(str(folder / name)) for name in names))
