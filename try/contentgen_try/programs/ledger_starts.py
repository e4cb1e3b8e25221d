"""Number of starts, in the ledger and in a file beside it.

The ledger's store opens a torn file at the newest version that is whole, which may be an empty one, and reports
nothing. A ledger with fewer starts than the file is such a one.
"""

from pathlib import Path
from typing import Any, Protocol

from pymongo import MongoClient

from contentgen_try.folder import damaged

_ID = {"_id": "starts"}
_SECONDS = 30


class Collection(Protocol):
    """Methods of a MongoDB collection that are used here."""

    def find_one(self, query: Any, /) -> Any:
        """The document; None if there is none."""
        ...

    def replace_one(self, query: Any, new: Any, /, upsert: bool) -> Any:
        """Replace or insert the document."""
        ...


def check(uri: str, paid: Path) -> None:
    """Count a start of the ledger at a URI. Raises FolderRefused if it is older than the last start."""
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=_SECONDS * 1000) as client:
        count(client["contentgen-try"]["starts"], paid)


def count(starts: Collection, paid: Path) -> None:
    """Count a start. The ledger is first: a kill between the two leaves it ahead, which is no damage."""
    file = paid / "mongodb" / "starts"
    found = starts.find_one(_ID)
    number = int(found["number"]) if found is not None else 0
    try:
        noted = int(file.read_text()) if file.exists() else 0
    except ValueError as error:
        raise damaged(paid, f"{file}: {error}") from None
    if number < noted:
        raise damaged(paid, f"the ledger is of start {number}, but the last one was {noted}")
    starts.replace_one(_ID, {"number": number + 1}, upsert=True)
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(str(number + 1))
    unfinished.replace(file)
