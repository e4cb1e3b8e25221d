"""Real servers shared by the integration tests, and fast creation of their clients.

MongoDB runs once for all tests; each test has its own database. S3 starts in a tenth of a second, so each test file has
its own server.
"""

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import botocore.session
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from contentgen_cluster.node.certificates import ClusterAuthority
from contentgen_operator.stores.s3 import Storage
from contentgen_sandbox import faults
from contentgen_sandbox.testing import PATIENCE_S, S3Server, SandboxServer, mongo_server, s3_server, sandbox_server


@pytest.fixture(scope="session", autouse=True)
def _quick_clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Speed up hundreds of clients, which would each read all AWS service descriptions and all CA certificates.

    Service descriptions are read once. One CA is enough, because no server here uses TLS.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        if not {"MONGODB_URI", "S3_ENDPOINT"} & os.environ.keys():
            authority = ClusterAuthority(tmp_path_factory.mktemp("authority"), datetime.now(UTC)).certificate
            patch.setenv("SSL_CERT_FILE", str(authority))
        yield


@pytest.fixture(scope="session", autouse=True)
def _patient_clients() -> Iterator[None]:
    """httpx waits two minutes instead of 5 s where a test gives no timeout: the servers may be busy."""
    with pytest.MonkeyPatch.context() as patch:
        for phase in ("connect", "read", "write", "pool"):
            patch.setattr(DEFAULT_TIMEOUT_CONFIG, phase, PATIENCE_S)
        yield


@pytest.fixture(scope="session")
def mongo_uri() -> Iterator[str]:
    """URI of an in-memory MongoDB, or of an external one (MONGODB_URI)."""
    with mongo_server() as uri:
        yield uri


@pytest.fixture(scope="session")
def mongo(mongo_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    """Client of that server."""
    with MongoClient[dict[str, Any]](mongo_uri, tz_aware=True) as client:
        yield client


@pytest.fixture
def database_name(request: pytest.FixtureRequest) -> str:
    """Unique name for the test, valid also for a bucket."""
    return f"test-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}"


@pytest.fixture
def database(mongo: MongoClient[dict[str, Any]], database_name: str) -> Iterator[Database[dict[str, Any]]]:
    """Temporary database of the test with the operator's write concern."""
    yield mongo.get_database(
        database_name,
        read_preference=ReadPreference.PRIMARY,
        read_concern=ReadConcern("majority"),
        write_concern=WriteConcern(w="majority", j=True),
    )
    mongo.drop_database(database_name)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Server without buckets, with its keys in the environment."""
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


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by which faults delay replies of the sandbox; they pass at once."""
    asked: list[float] = []

    async def at_once(seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr(faults, "sleep", at_once)
    return asked


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    """Sandbox providers that answer at once."""
    with sandbox_server() as running:
        yield running
