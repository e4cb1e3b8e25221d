"""Read and write guarantees of MongoDB connections, whatever the administrator's URI says."""

import pytest
from pymongo import ReadPreference
from pymongo.errors import ConfigurationError
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


@pytest.mark.parametrize("scheme", ["mongodb", "mongodb+srv"])
@pytest.mark.parametrize("option", ["authMechanism=MONGODB-AWS", "retryWrites=true&AUTHMECHANISM=MONGODB-AWS"])
def test_iam_authentication_is_refused_before_connecting(scheme: str, option: str) -> None:
    with pytest.raises(ConfigurationError, match="pymongo_auth_aws is not in the image"):
        connect(f"{scheme}://cluster.example.com/?{option}&authSource=%24external", "contentgen")


def test_a_password_with_a_name_of_it_connects() -> None:
    database = connect("mongodb://user:MONGODB-AWS@localhost:1/?authMechanism=SCRAM-SHA-256", "contentgen")
    database.client.close()
