"""Every MongoDB query of the gateway, over the wire: it runs, and where MONGODB_URI names a server of yours, its plan
uses an index (`make test-explain`).

The sandbox's server runs the queries without MONGODB_URI; it knows no `explain`. Which index serves which query is
checked without a server by tests/unit/gateway/stores/test_indexes.py.
"""

import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from contentgen_contract.names import Kind
from contentgen_contract.records import indexes
from contentgen_gateway.stores import aggregations
from contentgen_gateway.stores.queries import Scope, Sorted, count_filter, page_query
from contentgen_sandbox.testing import mongo_server
from contentgen_simulation.gateway.bucket import RecordingBucket
from contentgen_simulation.gateway.query_plans import Command, Commands, explained, single
from contentgen_simulation.gateway.request_corpus import CHANGES, EVERYTHING, PATHS, SCOPES, WANTED
from contentgen_simulation.gateway.server import GatewayWorld

JOBS = 200
EXPLAINS = bool(os.environ.get("MONGODB_URI"))


@pytest.fixture(scope="module")
def sent() -> Commands:
    return Commands()


@pytest.fixture(scope="module")
def database(sent: Commands) -> Iterator[Database[dict[str, Any]]]:
    """Database with the indexes of the operator and the gateway, and some jobs; dropped at the end."""
    with (
        mongo_server() as uri,
        MongoClient[dict[str, Any]](uri, tz_aware=True, event_listeners=[sent]) as client,
    ):
        made = client[f"contentgen-explain-{secrets.token_hex(4)}"]
        for name, declared in (("jobs", indexes.JOBS), ("ledger", indexes.LEDGER)):
            for index, keys in declared.items():
                made[name].create_index(list(keys), name=index, unique=(name, index) == ("jobs", "job_id"))
        world = GatewayWorld(("ann", "*", "*", "red"), database=made)
        for store in (world.dependencies.shares, world.dependencies.collections, world.dependencies.transcripts):
            store.create_indexes()
        for number in range(JOBS):
            world.job(number, tuple(Kind)[number % 3], terms=["ava"], metadata={"tags": ["a"], "isPublic": False})
        yield made
        client.drop_database(made.name)


def scans(database: Database[dict[str, Any]], command: Command) -> bool:
    """Whether the server's plan reads a whole collection; False where the server knows no plans."""
    return EXPLAINS and "COLLSCAN" in explained(database, command)


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_lists(database: Database[dict[str, Any]], scope: Scope) -> None:
    for wanted in WANTED:
        query = page_query(scope, wanted)
        find = {"find": "jobs", "filter": query.filter, "sort": dict(query.sort), "limit": query.limit + 1}
        assert database.command(find)["ok"]
        everything = scope == EVERYTHING and wanted.sort is not Sorted.CREATED  # their indexes begin with a namespace
        assert everything or not scans(database, find), wanted


@pytest.mark.parametrize("scope", [each_scope for each_scope in SCOPES.values() if each_scope != EVERYTHING])
def test_counts_and_sums(database: Database[dict[str, Any]], scope: Scope) -> None:
    for wanted in WANTED:
        commands = [{"aggregate": "jobs", "pipeline": [{"$match": count_filter(scope, wanted)}], "cursor": {}}]
        own = aggregations.without_shared(scope)
        if not own.nothing and not wanted.tags and not wanted.terms:
            totals = (("jobs", aggregations.job_totals), ("ledger", aggregations.purchase_totals))
            commands += [
                {"aggregate": name, "pipeline": list(of(own, wanted, aggregations.By.DAY).pipeline), "cursor": {}}
                for name, of in totals
            ]
        for command in commands:
            assert database.command(command)["ok"]
            assert not scans(database, command), wanted


@pytest.mark.parametrize("path", PATHS)
async def test_all_that_a_read_asks(database: Database[dict[str, Any]], sent: Commands, path: str) -> None:
    await _asked(database, sent, [("GET", path, None)])


async def test_all_that_changes_ask(database: Database[dict[str, Any]], sent: Commands) -> None:
    await _asked(database, sent, CHANGES)


async def _asked(database: Database[dict[str, Any]], sent: Commands, requests: Any) -> None:
    world = GatewayWorld(("ann", "*", "*", "red"), database=database)
    bucket = RecordingBucket()
    bucket.behind(world.dependencies.files)
    key = "loras/ann/j/v1/model.safetensors"
    number = database["jobs"].count_documents({})
    job = world.job(number, versions=[{"version": 1, "s3Key": key}])
    bucket.objects |= {key: b"x", "datasets/ann/j/dataset.json": b"{}"}
    sent.noted.clear()
    async with world.client("ann") as ann:
        for method, path, body in requests:
            answer = await ann.request(method, path.format(job), json=body)
            assert answer.status_code < 300, (method, path, answer.text)
    noted = [each for command in sent.noted for each in single(command)]
    assert noted
    for command in noted:
        assert not scans(database, command), command
