"""Download of stored files, by URLs that the gateway signs."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from contentgen_cli.errors import ApiUnreachable, CliError
from contentgen_cli.gateway import GatewayClient
from contentgen_cli.item import Item
from contentgen_contract.resources.status import VersionStatus

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_SECONDS = 60.0  # to connect, and between two reads
_CHUNK = 1 << 20
_MOST_BYTES = 5 << 30  # of any file: the maximum of a single S3 PUT, by which all are stored
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class WantedFile:
    """One file of a version. `sha256` None: unknown; `most_bytes` is its size, or a limit where that is unknown."""

    version: int
    name: str
    sha256: str | None = None
    most_bytes: int = _MOST_BYTES


def wanted_files(version: VersionStatus, names: Iterable[str]) -> tuple[WantedFile, ...]:
    """Files of a version: those of these names, which the gateway checks, or without names all of the status.

    Raises CliError for what is no file name.
    """
    known = {
        name: WantedFile(version.version, name, file.sha256, file.size_bytes or _MOST_BYTES)
        for file in version.files
        for name in [PurePosixPath(file.key).name]
    }
    found = tuple(known.get(name, WantedFile(version.version, name)) for name in tuple(names) or tuple(known))
    for each in found:
        if not _NAME.fullmatch(each.name):
            raise CliError(f"{each.name!r} is not the name of a file, such as dataset.zip")
    return found


def download(gateway: GatewayClient, item: Item, file: WantedFile, folder: Path) -> Path:
    """Path of the downloaded file. A file that is there with the same checksum stays.

    Raises CliError for another one, for a missing file, and for bytes with another checksum, which are not kept.
    """
    path = folder / file.name
    if path.exists():
        if file.sha256 is not None and _sha256(path) == file.sha256:
            return path
        raise CliError(f"{path} exists, and may be another file: remove it, or give another folder with --to")
    query = urlencode({"file": file.name, "version": file.version})
    job = quote(item.uid, safe="")
    answer = gateway.request("GET", f"/api/assets/{job}/download?{query}")
    part = folder / f".{file.name}.{os.getpid()}.part"
    try:
        _fetch(str(answer.get("url")), part, file)
        if file.sha256 is not None and _sha256(part) != file.sha256:
            raise CliError(f"{file.name}: the downloaded bytes do not have the checksum of the status; try again")
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _fetch(url: str, path: Path, file: WantedFile) -> None:
    """Write the bytes of a signed URL. Raises CliError, also for too many; no message contains the signature."""
    import urllib3
    from urllib3.exceptions import HTTPError

    host = urlsplit(url).netloc
    if urlsplit(url).scheme not in ("http", "https"):
        raise CliError("the gateway returned no URL; it may be older than this plugin")
    try:
        with (
            urllib3.PoolManager(retries=False, timeout=_SECONDS) as pool,
            path.open("xb") as target,
            pool.request("GET", url, redirect=False, preload_content=False) as response,
        ):
            if response.status != 200:
                raise CliError(f"the store at {host} returned {response.status}")
            shutil.copyfileobj(_LimitedReader(response, file), target, _CHUNK)
    except (HTTPError, UnicodeError) as error:
        raise ApiUnreachable(
            f"the store at {host} does not respond: {type(error).__name__}; gateway.filesEndpoint of the chart is the "
            "address of the store for users"
        ) from error


class _LimitedReader:
    """Body of a response. Raises CliError for more bytes than the file may have."""

    def __init__(self, response: "BaseHTTPResponse", file: WantedFile) -> None:
        self._response = response
        self._file = file
        self._left = file.most_bytes

    def read(self, size: int = _CHUNK, /) -> bytes:
        """Next bytes; empty at the end."""
        chunk = self._response.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise CliError(f"{self._file.name}: the store sent more than {self._file.most_bytes} bytes; try again")
        return chunk


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
