"""Read and write guarantees of MongoDB connections, whatever the administrator's URI says."""

import pytest
from pymongo import ReadPreference
from pymongo.read_concern import ReadConcern

from contentgen_runtime.mongo import connect


@pytest.mark.parametrize(
    "options",
    ["", "?readPreference=secondaryPreferred", "?readConcernLevel=available", "?w=0", "?readPreference=nearest&w=1"],
)
def test_the_uri_weakens_no_guarantee(options: str) -> None:
    database = connect(f"mongodb://localhost:1/{options}", "contentgen")
    try:
        for part in (database, database["ledger"], database["ledger"].database["request_bindings"]):
            assert part.read_preference == ReadPreference.PRIMARY
            assert part.read_concern == ReadConcern("majority")
            assert part.write_concern.document == {"w": "majority", "j": True}
    finally:
        database.client.close()
