"""The folder of a run: its lock, and the state that is kept in it.

`FOLDER/.paid` has the ledger (MongoDB), the objects of the API server and, without a bucket of the user's, the files.
A damaged one is an error and never a fresh start: without the ledger the same manifests would be paid again.
`FOLDER/.sandbox` has the same of a run with the sandbox, whose requests end with it: the next run goes on with it only
if all resources were Completed, and starts anew otherwise.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PAID, SANDBOX = ".paid", ".sandbox"
_LOCK = ".lock"
_ABOUT = "about.json"
_FORMAT = 2


class FolderRefused(Exception):
    """The folder cannot be used; the message says why and what to do."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process. Raises FolderRefused if another has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderRefused(f"another `contentgen try` works in {folder}: end it, or use --folder") from None
        yield


def refuse_sandbox(folder: Path) -> None:
    """Raises FolderRefused if the folder has paid work, whose files a run with the sandbox would replace."""
    if (folder / PAID).exists():
        raise FolderRefused(
            f"{folder} has paid results: give the provider's key again, or use another --folder for the sandbox"
        )


def damaged(paid: Path, why: str) -> FolderRefused:
    """Error for a damaged `.paid`."""
    return FolderRefused(
        f"the ledger of what was paid is damaged: {why}. Restore {paid} from a copy. With another --folder "
        "the same manifests are paid again; the provider's own page lists the requests that were made"
    )


class PaidFolder:
    """`FOLDER/.paid`. `bucket`: the user's, empty for files in the folder; `providers`: those that are paid."""

    def __init__(self, folder: Path, bucket: str, endpoint: str = "", providers: Sequence[str] = ()) -> None:
        self.path = folder / PAID
        self._about = self.path / _ABOUT
        self._bucket = bucket
        self._endpoint = endpoint
        self._providers = tuple(providers)

    @property
    def _parts(self) -> tuple[Path, ...]:
        """Files and folders that exist once the programs have been ready."""
        ours = (self.path / "mongodb" / "store", self.path / "mongodb" / "starts", self.path / "api-server")
        return ours if self._bucket else (*ours, self.path / "objects" / "index")

    def open(self) -> None:
        """Create the folder, or check it. Raises FolderRefused."""
        if not self.path.exists():
            (self.path / "mongodb").mkdir(parents=True)
            self.path.chmod(0o700)
            self._write(ready=False)
            return
        about = self._read()
        if about["bucket"] != self._bucket:
            known = f"the bucket {about['bucket']}" if about["bucket"] else "files in the folder, without --bucket"
            raise FolderRefused(f"{self.path} was used with {known}: use the same, or another --folder")
        if about["endpoint"] != self._endpoint:
            known = f"--endpoint {about['endpoint']}" if about["endpoint"] else "no --endpoint"
            raise FolderRefused(f"{self.path} was used with {known}: use the same, or another --folder")
        if missing := [provider for provider in about["providers"] if provider not in self._providers]:
            # The sandbox in its place knows none of its requests: they would fail, and their results be lost.
            keys = " and ".join(f"--{each}-key-file" for each in missing)
            raise FolderRefused(
                f"{self.path} has paid requests of {' and '.join(missing)}: give {keys} too, or use another --folder"
            )
        if set(about["providers"]) != set(self._providers):
            self._write(ready=about["ready"])  # before a request is sent
        for part in self._parts if about["ready"] else ():
            if not part.exists() or (part.is_file() and not part.stat().st_size):
                raise damaged(self.path, f"{part} is missing or empty")

    def ready(self) -> None:
        """Note that all parts exist. Before this nothing is paid."""
        self._write(ready=True)

    def _read(self) -> dict[str, Any]:
        try:
            about = dict(json.loads(self._about.read_text()))
            if about["format"] != _FORMAT:
                raise FolderRefused(f"{self._about}: format {about['format']} is of another version of contentgen")
            return {
                "bucket": str(about["bucket"]),
                "endpoint": str(about["endpoint"]),
                "providers": [str(provider) for provider in about["providers"]],
                "ready": bool(about["ready"]),
            }
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise damaged(self.path, f"{self._about}: {error!r}") from None

    def _write(self, *, ready: bool) -> None:
        unfinished = self._about.with_suffix(".unfinished")
        about = {"format": _FORMAT, "bucket": self._bucket, "endpoint": self._endpoint, "providers": self._providers}
        unfinished.write_text(json.dumps(about | {"ready": ready}))
        unfinished.replace(self._about)


class SandboxFolder:
    """`FOLDER/.sandbox`. `version`: of the code and of all options on which the state depends."""

    def __init__(self, folder: Path, version: str) -> None:
        self.path = folder / SANDBOX
        self._finished = self.path / "finished"
        self._version = version

    def open(self) -> None:
        """Keep the state of an earlier run if it has finished and is of this version, else remove it."""
        finished = self._finished.exists() and self._finished.read_text() == self._version
        self._finished.unlink(missing_ok=True)  # what this run begins may not end
        if not finished:
            shutil.rmtree(self.path, ignore_errors=True)
            (self.path / "mongodb").mkdir(parents=True)
            self.path.chmod(0o700)

    def finish(self) -> None:
        """Note that all resources are Completed."""
        self._finished.write_text(self._version)
