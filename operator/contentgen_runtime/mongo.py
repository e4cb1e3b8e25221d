"""MongoDB connections: durable writes, reads of the primary, rotation of the URI."""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import ConfigurationError
from pymongo.read_concern import ReadConcern

from contentgen_runtime.rotation import Rotated, read_files

Document = dict[str, Any]
Connect = Callable[[str, str], Database[Document]]
_AWS, _AWS_PACKAGE = "MONGODB-AWS", "pymongo_auth_aws"
_RETIRED_SECONDS = 600.0  # longer than any operation, and than a server keeps an idle cursor


def connect(uri: str, name: str) -> Database[Document]:
    """Database of a URI; connects lazily. Times are time-zone-aware, in UTC. Raises pymongo's ConfigurationError for a
    URI that cannot work.
    """
    _require_packages(uri)
    client: MongoClient[Document] = MongoClient(
        uri, serverSelectionTimeoutMS=5000, connectTimeoutMS=5000, socketTimeoutMS=10000, tz_aware=True
    )
    # Acknowledged writes are durable: an intent must not be lost when a server fails.
    # Reads are of the primary and majority-committed, whatever the URI says: a stale read of the ledger, or one that an
    # election rolls back, would cause a second payment.
    return client.get_database(
        name,
        read_preference=ReadPreference.PRIMARY,
        read_concern=ReadConcern("majority"),
        write_concern=WriteConcern(w="majority", j=True),
    )


def _require_packages(uri: str) -> None:
    """Raises ConfigurationError for an authentication whose package is missing: pymongo says so at the first operation,
    as if the server were unavailable.
    """
    options = {option.lower(): value for option, value in parse_qsl(uri.partition("?")[2])}
    if options.get("authmechanism") == _AWS and find_spec(_AWS_PACKAGE) is None:
        raise ConfigurationError(
            f"the MongoDB URI has authMechanism={_AWS}, whose package {_AWS_PACKAGE} is not in the image: "
            "give the URI a user with a password"
        )


def create_indexes(
    collection: Collection[Document], indexes: Mapping[str, Sequence[tuple[str, int]]], *, unique: str | None = None
) -> None:
    """Create indexes by name, one of which may be unique. Idempotent. Raises PyMongoError."""
    for name, keys in indexes.items():
        options: Document = {} if unique is None else {"unique": name == unique}
        collection.create_index(list(keys), name=name, **options)


def read_uri(uri: str, file: Path | None) -> str:
    """URI in a file, or `uri` if the file is None. Raises ValueError if the file cannot be read."""
    if file is None:
        return uri
    if (found := _uri_in(file)) is None:
        raise ValueError(f"CONTENTGEN_MONGODB_URI_FILE: {file} is missing, empty or unreadable")
    return found


def _uri_in(file: Path) -> str | None:
    found = read_files(file.parent, (file.name,))
    return found[0] if found else None


class RotatedDatabase:
    """Database whose URI is in a file. `refresh` connects again if the file has another URI that works.

    An operation continues with the client that it began with. Replaced clients are closed after ten minutes.
    """

    def __init__(
        self, file: Path, name: str, connect: Connect = connect, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises ValueError, or pymongo's error for a malformed URI. Connects lazily."""
        self._name = name
        self._connect = connect
        self._clock = clock
        self._retired: list[
            tuple[float, Database[Document]]
        ] = []  # with the time of their closing, in seconds of the clock
        uri = read_uri("", file)
        self.newest = connect(uri, name)
        self._rotated = Rotated("MongoDB", lambda: _uri_in(file), self._use, in_use=uri, clock=clock)

    @property
    def database(self) -> Database[Document]:
        """Proxy of the newest database; its collections are proxies too."""
        return cast("Database[Document]", _DatabaseProxy(self))

    def refresh(self) -> None:
        """See `Refreshed`."""
        self._rotated.refresh()
        now = self._clock()
        while self._retired and self._retired[0][0] <= now:
            self._retired.pop(0)[1].client.close()

    def _use(self, uri: str) -> None:
        database = self._connect(uri, self._name)
        try:
            # A read of the primary: a ping would succeed without permissions.
            database["jobs"].find_one({}, {"_id": True})
        except BaseException:
            database.client.close()
            raise
        self._retired.append((self._clock() + _RETIRED_SECONDS, self.newest))
        self.newest = database


class _DatabaseProxy:
    """Proxy of a database: attributes are those of the newest one at the time of access."""

    def __init__(self, rotated: RotatedDatabase) -> None:
        self._rotated = rotated

    def __getitem__(self, name: str) -> Collection[Document]:
        return cast("Collection[Document]", _CollectionProxy(self._rotated, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rotated.newest, name)


class _CollectionProxy:
    """Proxy of a collection, likewise."""

    def __init__(self, rotated: RotatedDatabase, name: str) -> None:
        self._rotated = rotated
        self._name = name

    @property
    def database(self) -> Database[Document]:
        """See pymongo's."""
        return self._rotated.database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rotated.newest[self._name], name)
