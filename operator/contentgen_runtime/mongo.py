"""How we connect to MongoDB."""

from typing import Any

from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

Document = dict[str, Any]


def connect(uri: str, name: str) -> Database[Document]:
    """A database; nothing is sent yet. Times are in UTC and say so."""
    client: MongoClient[Document] = MongoClient(
        uri, serverSelectionTimeoutMS=5000, connectTimeoutMS=5000, socketTimeoutMS=10000, tz_aware=True
    )
    # Acknowledged means durable: an intent must not be lost when a server dies.
    # Read from the primary, and nothing that an election could roll back, whatever the URI says: a stale or undone
    # read of the ledger would be a second payment.
    return client.get_database(
        name,
        read_preference=ReadPreference.PRIMARY,
        read_concern=ReadConcern("majority"),
        write_concern=WriteConcern(w="majority", j=True),
    )
