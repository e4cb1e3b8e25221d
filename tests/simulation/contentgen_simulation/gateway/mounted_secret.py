"""Mounted Secret with the kubelet's symlink layout."""

import shutil
from pathlib import Path


class Volume:
    """Atomically replaced files: each version has a folder; the symlink `..data` points to the newest."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._number = 0
        self.write(files)

    def write(self, files: dict[str, str]) -> None:
        """Write a new version and delete the previous one."""
        data, before = self.folder / "..data", self.folder / f"..{self._number}"
        self._number += 1
        version = self.folder / f"..{self._number}"
        version.mkdir()
        for name, text in files.items():
            (version / name).write_text(text)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(Path("..data") / name)
        (self.folder / "..data_tmp").symlink_to(version.name)
        (self.folder / "..data_tmp").rename(data)
        shutil.rmtree(before, ignore_errors=True)
