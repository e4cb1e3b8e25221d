"""S3 server of moto: `python -m contentgen_try.programs.s3_store PORT [FOLDER]`.

moto keeps everything in memory. With a folder, each change of an object is on disk before its response is sent, and
the objects are loaded at the start. An object is a file of JSON with its metadata, and a file with its content; both
are named by the hash of bucket, key and version.
"""

import base64
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, s3_backends
from werkzeug.serving import make_server

from contentgen_try.api_server.refusals import Refusal
from contentgen_try.api_server.web.access import require_loopback_name

_ACCOUNT, _PARTITION, _REGION = "123456789012", "aws", "us-east-1"
_READS = ("GET", "HEAD", "OPTIONS")
_VERSIONING = "versioning"
INDEX = "index"
"""File with the names of all files that must be there."""
_BAD_DIGEST = (
    b"<Error><Code>BadDigest</Code><Message>The SHA256 you specified did not match what we received.</Message></Error>"
)
_OF_A_PAGE = b"<Error><Code>AccessDenied</Code><Message>Host and Origin must name this computer.</Message></Error>"
Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class DamagedStore(Exception):
    """A file of the folder is missing or has another content; the message names it."""


class DiskCopy:
    """Copy of moto's objects in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._saved: dict[str, tuple[str, float]] = {}  # by name of the file: etag and time of the change
        self._indexed: frozenset[str] | None = None  # names of the files in the index
        folder.mkdir(parents=True, exist_ok=True)

    def load(self) -> None:
        """Put the objects of the folder into moto. Raises DamagedStore."""
        backend = s3_backends[_ACCOUNT][_PARTITION]
        self._check_index()
        for path in sorted(self._folder.glob("*.bucket")):
            said = self._read(path)
            bucket = backend.create_bucket(said["name"], _REGION)
            bucket.versioning_status = said[_VERSIONING]
        found = [(path, self._read(path)) for path in self._folder.glob("*.json")]
        for path, said in sorted(found, key=lambda each: (each[1]["changed"], each[1]["order"])):
            if said["bucket"] not in backend.buckets:
                raise DamagedStore(f"{path}: its bucket {said['bucket']} is missing")
            bucket = backend.buckets[said["bucket"]]
            key = self._key(path, said) if not said["marker"] else _marker(said)
            versions = bucket.keys.getlist(said["key"], [])
            bucket.keys.setlist(said["key"], [*versions, key])
            self._saved[path.stem] = _identity(key)

    def save(self) -> None:
        """Write what has changed, and remove what was deleted."""
        backend = s3_backends[_ACCOUNT][_PARTITION]
        current, buckets = set(), set()
        for bucket in list(backend.buckets.values()):
            buckets.add(self._save_bucket(bucket))
            for name, versions in list(bucket.keys.lists()):
                for order, key in enumerate(versions):
                    current.add(self._save_key(bucket, name, key, order))
        self._write_index(frozenset({f"{stem}.json" for stem in current} | buckets))
        for gone in self._saved.keys() - current:
            # The metadata first: content without metadata is no object.
            (self._folder / f"{gone}.json").unlink(missing_ok=True)
            (self._folder / f"{gone}.data").unlink(missing_ok=True)
            del self._saved[gone]
        _sync_folder(self._folder)

    def _check_index(self) -> None:
        """Raises DamagedStore for a missing file. One that is there without its name was never answered."""
        index = self._folder / INDEX
        if not index.exists():
            if any(self._folder.glob("*.bucket")):
                raise DamagedStore(f"{index} is missing")
            self._write_index(frozenset())
            return
        self._indexed = frozenset(map(str, self._read(index).get("files", ())))
        for name in sorted(self._indexed):
            if not (self._folder / name).exists():
                raise DamagedStore(f"{self._folder / name} is missing")

    def _write_index(self, files: frozenset[str]) -> None:
        if files != self._indexed:
            _write(self._folder / INDEX, json.dumps({"files": sorted(files)}).encode())
            self._indexed = files

    def _save_bucket(self, bucket: FakeBucket) -> str:
        path = self._folder / f"{_hashed(bucket.name)}.bucket"
        said = json.dumps({"name": bucket.name, _VERSIONING: bucket.versioning_status}).encode()
        if not path.exists() or path.read_bytes() != said:
            _write(path, said)
        return path.name

    def _save_key(self, bucket: FakeBucket, name: str, key: Any, order: int) -> str:
        stem = _hashed(bucket.name, name, str(key.version_id))
        if self._saved.get(stem) == _identity(key):
            return stem
        said: dict[str, Any] = {
            "bucket": bucket.name,
            "key": name,
            "version": key.version_id,
            "marker": isinstance(key, FakeDeleteMarker),
            "changed": key.last_modified.isoformat(),
            "order": order,
        }
        if isinstance(key, FakeKey):
            content = key.value
            _write(self._folder / f"{stem}.data", content)
            said |= {
                "etag": key._etag,
                "versioned": key._is_versioned,
                "metadata": dict(key.metadata),
                "checksum": [key.checksum_algorithm, key.checksum_value, key.checksum_type, key.checksum_parts],
                "sha256": base64.b64encode(hashlib.sha256(content).digest()).decode(),
            }
        _write(self._folder / f"{stem}.json", json.dumps(said).encode())
        self._saved[stem] = _identity(key)
        return stem

    def _key(self, path: Path, said: dict[str, Any]) -> FakeKey:
        data = path.with_suffix(".data")
        content = data.read_bytes() if data.exists() else b""
        if base64.b64encode(hashlib.sha256(content).digest()).decode() != said["sha256"]:
            raise DamagedStore(f"{data}: another content than when it was written ({said['key']})")
        key = FakeKey(
            said["key"],
            content,
            _ACCOUNT,
            _REGION,
            etag=said["etag"],
            is_versioned=said["versioned"],
            version_id=said["version"],
            bucket_name=said["bucket"],
        )
        key.set_metadata(said["metadata"])
        key.checksum_algorithm, key.checksum_value, key.checksum_type, key.checksum_parts = said["checksum"]
        key.last_modified = datetime.fromisoformat(said["changed"])
        return key

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            return dict(json.loads(path.read_bytes()))
        except ValueError as error:
            raise DamagedStore(f"{path}: {error}") from None


class Front:
    """WSGI application that adds to moto: SHA-256 checksums are verified, one change is made at a time (so that
    If-None-Match holds), and a change is on disk before its response is sent.
    """

    def __init__(self, application: Application, copy: DiskCopy | None) -> None:
        self._application = application
        self._copy = copy
        self._lock = Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if _of_a_page(environ):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [_OF_A_PAGE]
        if environ["REQUEST_METHOD"] in _READS:
            return self._application(environ, start_response)
        if not _intact(environ):
            start_response("400 Bad Request", [("Content-Type", "application/xml")])
            return [_BAD_DIGEST]
        held: list[tuple[Any, ...]] = []

        def hold(*given: Any) -> None:
            held.append(given)

        with self._lock:
            body = list(_closing(self._application(environ, hold)))
            if self._copy is not None:
                self._copy.save()
        start_response(*held[-1])
        return body


def _of_a_page(environ: Environ) -> bool:
    """Whether a browser sent it for a page of another site: moto's CORS headers would permit all of them."""
    origin = environ.get("HTTP_ORIGIN")
    hosts = [environ.get("HTTP_HOST", ""), *([] if origin is None else [urlsplit(origin).netloc])]
    try:
        for host in hosts:
            require_loopback_name(host)
    except Refusal:
        return True
    return False


def _intact(environ: Environ) -> bool:
    """Whether the body has the SHA-256 of its header; moto keeps it then, for HEAD requests."""
    expected = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
    if not expected or "aws-chunked" in environ.get("HTTP_CONTENT_ENCODING", ""):
        return True
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    environ["HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"] = "SHA256"
    return bool(base64.b64encode(hashlib.sha256(body).digest()).decode() == expected)


def _closing(body: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from body
    finally:
        if (close := getattr(body, "close", None)) is not None:
            close()


def _marker(said: dict[str, Any]) -> FakeDeleteMarker:
    key = FakeKey(said["key"], b"", _ACCOUNT, _REGION, bucket_name=said["bucket"])
    marker = FakeDeleteMarker(key)
    marker._version_id = said["version"]
    marker.last_modified = datetime.fromisoformat(said["changed"])
    return marker


def _identity(key: Any) -> tuple[str, float]:
    return (str(getattr(key, "_etag", "")), key.last_modified.timestamp())


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main() -> None:
    """Serve until a signal. Exit code 1 if the folder is damaged."""
    port, folder = int(sys.argv[1]), sys.argv[2:]
    copy = DiskCopy(Path(folder[0])) if folder else None
    if copy is not None:
        try:
            copy.load()
        except DamagedStore as error:
            sys.exit(str(error))
    make_server("127.0.0.1", port, Front(create_backend_app("s3"), copy), threaded=True).serve_forever()


if __name__ == "__main__":
    main()
