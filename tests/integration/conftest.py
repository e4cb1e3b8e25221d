"""The real servers that the tests share, and clients of theirs that cost little to make.

MongoDB runs once for all: each test has a database of its own. S3 is up in a tenth of a second, so that each file of
tests has its own server, and any bucket in it.
"""

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import botocore.session
import pytest
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from contentgen_cluster.node.certificates import ClusterAuthority
from contentgen_operator.stores.s3 import Storage
from contentgen_sandbox.testing import S3Server, SandboxServer, mongo_server, s3_server, sandbox_server


@pytest.fixture(scope="session", autouse=True)
def _quick_clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hundreds of clients are made: each read all that AWS offers, and each certificate that Mozilla trusts.

    Here they read the former once; and as none of our servers speaks TLS, one authority is enough.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        if not {"MONGODB_URI", "S3_ENDPOINT"} & os.environ.keys():
            authority = ClusterAuthority(tmp_path_factory.mktemp("authority"), datetime.now(UTC)).certificate
            patch.setenv("SSL_CERT_FILE", str(authority))
        yield


@pytest.fixture(scope="session")
def mongo_uri() -> Iterator[str]:
    """The address of a MongoDB in memory, or of yours (MONGODB_URI)."""
    with mongo_server() as uri:
        yield uri


@pytest.fixture(scope="session")
def mongo(mongo_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    """A client of it."""
    with MongoClient[dict[str, Any]](mongo_uri, tz_aware=True) as client:
        yield client


@pytest.fixture
def database_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test has, and that a bucket can have too."""
    return f"test-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}"


@pytest.fixture
def database(mongo: MongoClient[dict[str, Any]], database_name: str) -> Iterator[Database[dict[str, Any]]]:
    """The test's own, as the operator writes to it; gone when the test ends."""
    yield mongo.get_database(
        database_name,
        read_preference=ReadPreference.PRIMARY,
        read_concern=ReadConcern("majority"),
        write_concern=WriteConcern(w="majority", j=True),
    )
    mongo.drop_database(database_name)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server without buckets, and its keys in the environment."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        yield server


@pytest.fixture(scope="module")
def storage(s3: S3Server) -> Storage:
    """The operator's view of the bucket `assets` on that server."""
    storage = Storage(bucket="assets", region="us-east-1", endpoint=s3.endpoint, public_endpoint=None)
    storage.ensure_bucket()
    return storage


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    """Sandbox providers that answer at once."""
    with sandbox_server() as running:
        yield running
