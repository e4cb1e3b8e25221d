"""How we connect to MongoDB."""

from typing import Any

from pymongo import MongoClient, WriteConcern
from pymongo.database import Database

Document = dict[str, Any]


def connect(uri: str, name: str) -> Database[Document]:
    """A database; nothing is sent yet. Times are in UTC and say so."""
    client: MongoClient[Document] = MongoClient(
        uri, serverSelectionTimeoutMS=5000, connectTimeoutMS=5000, socketTimeoutMS=10000, tz_aware=True
    )
    # Acknowledged means durable: an intent must not be lost when a server dies.
    return client.get_database(name, write_concern=WriteConcern(w="majority", j=True))
