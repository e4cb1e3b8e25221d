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
class AccountKeys:
    """Key files of one provider account."""

    fal: KeyFile
    fal_billing: KeyFile
    assemblyai: KeyFile
    fal_audit: KeyFile
    assemblyai_audit: KeyFile

    @classmethod
    def in_folder(cls, folder: Path) -> "AccountKeys":
        """The files of a mounted Secret."""
        names = "fal-key", "fal-billing-key", "assemblyai-key", "fal-audit-key", "assemblyai-audit-key"
        return cls(*(KeyFile(str(folder / name)) for name in names))
