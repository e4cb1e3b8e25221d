"""Durable objects of a run with real payments, in an SQLite file: each write is on the disk before it is answered.

The operator recognizes a paid request by the resource's uid, by its status and by its ledger. A server that had
forgotten them would let it pay again, so a damaged or missing file is an error and never an empty start.
"""

import hashlib
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

Body = dict[str, Any]
FILE = "objects.sqlite3"
_BEGUN = "begun"
_FORMAT = 1
_APPLICATION = 0x636F6E74
_BLOCK = 1000  # resourceVersions that are reserved at a time
_TABLES = """
CREATE TABLE objects (place TEXT PRIMARY KEY, body TEXT NOT NULL, digest TEXT NOT NULL) STRICT;
CREATE TABLE versions (one INTEGER PRIMARY KEY CHECK (one = 1), reserved INTEGER NOT NULL) STRICT;
INSERT INTO versions VALUES (1, 0);
"""


class BadState(Exception):
    """A state folder that cannot be used."""


class StateFile:
    """The state file of a folder, locked until it is closed. Raises BadState."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._failed = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._path.exists():
                _create(folder, self._path)
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=1)
            try:
                self._lock_and_check()
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise BadState(f"{folder} is used by another process: end it first") from error
            raise BadState(f"{self._path} cannot be opened: {error}") from error
        except (sqlite3.DatabaseError, OSError) as error:
            raise BadState(f"{self._path} is damaged or cannot be read ({error}): {_ADVICE}") from error

    def _lock_and_check(self) -> None:
        run = self._connection.execute
        if self._path.stat().st_size == 0:
            raise BadState(f"{self._path} is empty: {_ADVICE}")
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA synchronous = EXTRA")  # the directory too
        run("BEGIN EXCLUSIVE")
        run("COMMIT")
        checked = run("PRAGMA integrity_check(1)").fetchone()[0]
        if checked != "ok":
            raise BadState(f"{self._path} is damaged ({checked}): {_ADVICE}")
        application, version = (run(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if (application, version) != (_APPLICATION, _FORMAT):
            raise BadState(f"{self._path} is not a state file of this release (format {version}): {_ADVICE}")

    def objects(self) -> list[Body]:
        """All objects. Raises BadState."""
        found = []
        try:
            rows = self._connection.execute("SELECT place, body, digest FROM objects ORDER BY place").fetchall()
        except sqlite3.DatabaseError as error:
            raise BadState(f"{self._path} is damaged ({error}): {_ADVICE}") from error
        for place, body, digest in rows:
            if digest != _digest(place, body):
                raise BadState(f"{self._path} is damaged (the checksum of {place} is wrong): {_ADVICE}")
            found.append(json.loads(body))
        return found

    def last_version(self) -> int:
        """A resourceVersion that is not below any that was given."""
        return int(self._connection.execute("SELECT reserved FROM versions").fetchone()[0])

    def reserve(self, version: int) -> int:
        """Reserve resourceVersions, of which at least `version`; returns the last one."""
        last = version + _BLOCK
        self._write("UPDATE versions SET reserved = ?", last)
        return last

    def put(self, body: Body) -> None:
        """Write an object."""
        place, text = _place(body), json.dumps(body, sort_keys=True)
        self._write("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", place, text, _digest(place, text))

    def delete(self, body: Body) -> None:
        """Delete an object."""
        self._write("DELETE FROM objects WHERE place = ?", _place(body))

    def _write(self, command: str, *values: str | int) -> None:
        """One transaction. After a failure, which may be on the disk or not, all others are refused."""
        if self._failed:
            raise sqlite3.OperationalError(f"an earlier write to {self._path} has failed: restart contentgen try")
        try:
            self._connection.execute(command, values)
        except BaseException:
            self._failed = True
            raise

    def close(self) -> None:
        """Close the file, and release the lock."""
        self._connection.close()


_ADVICE = "restore it from a copy, or move the folder away to begin anew (paid requests may then be paid again)"


def _create(folder: Path, path: Path) -> None:
    """A new state file, which appears complete or not at all. Raises BadState for a folder that had one before."""
    if (folder / _BEGUN).exists():
        raise BadState(f"{path} is missing, but the folder has been used before: {_ADVICE}")
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    connection = sqlite3.connect(new, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.executescript(
            f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_FORMAT}; BEGIN; {_TABLES} COMMIT;"
        )
    finally:
        connection.close()
    new.chmod(0o600)
    new.rename(path)
    _synchronize(folder)
    (folder / _BEGUN).touch(mode=0o600)
    _synchronize(folder)


def _synchronize(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _place(body: Body) -> str:
    meta = body["metadata"]
    return f"{body['apiVersion']}/{body['kind']}/{meta.get('namespace', '')}/{meta['name']}"


def _digest(place: str, text: str) -> str:
    return hashlib.sha256(f"{place}\n{text}".encode()).hexdigest()
