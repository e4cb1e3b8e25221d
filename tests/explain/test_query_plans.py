"""On a MongoDB of yours: each question that the gateway puts to it is answered by way of an index.

`make test-explain MONGODB_URI=…` runs this. The servers of the sandbox know no `explain`; which index serves which
question is checked without one by tests/unit/gateway/stores/test_indexes.py.
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
from contentgen_gateway.stores.queries import counting, listing
from contentgen_simulation.gateway.bucket import RecordingBucket
from contentgen_simulation.gateway.query_plans import Commands, explained, single
from contentgen_simulation.gateway.request_corpus import CHANGES, EVERYTHING, PATHS, SCOPES, WANTED
from contentgen_simulation.gateway.server import GatewayWorld

JOBS = 200
_SCAN = "COLLSCAN"


@pytest.fixture(scope="module")
def sent() -> Commands:
    return Commands()


@pytest.fixture(scope="module")
def database(sent: Commands) -> Iterator[Database[dict[str, Any]]]:
    """Database with the indexes of the operator and the gateway, and some jobs; dropped at the end."""
    uri = os.environ.get("MONGODB_URI")
    assert uri, "give MONGODB_URI: a MongoDB server where a database may be made and dropped"
    with MongoClient[dict[str, Any]](uri, tz_aware=True, event_listeners=[sent]) as client:
        made = client[f"contentgen-explain-{secrets.token_hex(4)}"]
        for name, declared in (("jobs", indexes.JOBS), ("ledger", indexes.LEDGER)):
            for index, keys in declared.items():
                made[name].create_index(list(keys), name=index, unique=(name, index) == ("jobs", "job_id"))
        world = GatewayWorld(("ann", "*", "*", "red"), database=made)
        for each in (world.dependencies.shares, world.dependencies.collections, world.dependencies.transcripts):
            each.create_indexes()
        for number in range(JOBS):
            world.job(number, tuple(Kind)[number % 3], terms=["ava"], metadata={"tags": ["a"], "isPublic": False})
        yield made
        client.drop_database(made.name)


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_lists(database: Database[dict[str, Any]], scope: Any) -> None:
    for wanted in WANTED:
        query = listing(scope, wanted)
        find = {"find": "jobs", "filter": query.filter, "sort": dict(query.sort), "limit": query.limit + 1}
        assert _SCAN not in explained(database, find), wanted


@pytest.mark.parametrize("scope", [each for each in SCOPES.values() if each != EVERYTHING])
def test_counts_and_sums(database: Database[dict[str, Any]], scope: Any) -> None:
    for wanted in WANTED:
        commands = [{"aggregate": "jobs", "pipeline": [{"$match": counting(scope, wanted)}], "cursor": {}}]
        mine = aggregations.own(scope)
        if not mine.nothing and not wanted.tags and not wanted.terms:
            sums = (("jobs", aggregations.of_jobs), ("ledger", aggregations.of_purchases))
            commands += [
                {"aggregate": name, "pipeline": list(of(mine, wanted, aggregations.By.DAY).pipeline), "cursor": {}}
                for name, of in sums
            ]
        for command in commands:
            assert _SCAN not in explained(database, command), wanted


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
        assert _SCAN not in explained(database, command), command
