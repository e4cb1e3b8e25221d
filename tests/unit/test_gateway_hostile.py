"""Hostile ids, parameters, headers and bodies: none of them leaves its prefix of the bucket, becomes an operator of
MongoDB, goes elsewhere in the Kubernetes API, or is answered with 500. All endpoints of the app are sent some.

`make test-api` sends 100,000; here it is a sample.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from fastapi import Request

from contentgen_contract.names import Kind
from contentgen_gateway.parts import Calling, Using
from contentgen_simulation import hostile_input
from contentgen_simulation.endpoints import Endpoint, case_of, endpoints, suits
from contentgen_simulation.hostile_input import MARK, OperatorReached, look, watched
from contentgen_simulation.tenants import Tenants

SENT = 100_000 if os.environ.get("CONTENTGEN_API") == "all" else 2_000
REPORT = Path(__file__).resolve().parents[2] / "build/test/hostile-requests.json"
A_WORLD = 1_000  # requests until everything is as it was: some of them delete
HEADERS = ("Idempotency-Key", "Last-Event-ID", "If-Match", "X-Request-Id")
GUARDED = [each for each in endpoints(Tenants().app) if each.signed_in]


def request(rng: random.Random, world: Tenants, client: httpx.AsyncClient, endpoint: Endpoint) -> httpx.Request:
    """One with something hostile in it, or, each fifth, one that is as it should be."""
    case, known = case_of(endpoint), tuple(job.job_id for job in world.jobs)
    job = rng.choice([each for each in world.jobs if suits(endpoint, each)])
    parameters = dict(case.query)
    identity, file, usual, headers = job.job_id, None, case.body(job) if case.body else None, {}
    places = ["id"] * bool(endpoint.ids) + ["query"] * bool(endpoint.query) + ["body"] * endpoint.has_body + ["header"]
    place = rng.choice(places) if rng.random() < 0.8 else None
    if place == "id" and "file" in endpoint.ids and rng.random() < 0.5:
        file = hostile_input.text(rng, known)
    elif place == "id":
        identity = hostile_input.text(rng, known)
    elif place == "query":
        name = rng.choice(endpoint.query) + rng.choice(("", "", "", "[$ne]", f".{MARK}", "[]"))
        parameters[name] = hostile_input.text(rng, known)
    elif place == "body":
        usual = hostile_input.body(rng, usual, known)
    elif place == "header":
        value = hostile_input.text(rng, known).encode("ascii", "ignore").decode()
        headers[rng.choice(HEADERS)] = "".join(each for each in value if each.isprintable())[:4000]
    safe = rng.choice(("", "/", "/.%$"))
    path = endpoint.at(quoted(identity, safe), job, quoted(file, safe) if file is not None else None)
    content = {"data": case.form(job)} if case.form else {"json": usual} if usual is not None else {}
    return client.build_request(endpoint.method, path, params=parameters, headers=headers, **content)


def quoted(text: str, safe: str) -> str:
    return quote(text.encode("utf-8", "replace").decode(), safe=safe)


SEEDS = range(-(-SENT // A_WORLD))
sent_to: dict[int, Counter[str]] = {}
"""By seed: how many requests each endpoint got."""


@pytest.fixture(scope="module", autouse=True)
def _enough_is_sent() -> Iterator[None]:
    """Where all seeds ran: so many requests, and each endpoint got some."""
    yield
    if set(sent_to) == set(SEEDS):
        every = sum(sent_to.values(), Counter[str]())
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps({"requests": every.total(), "endpoints": every}, indent=2) + "\n")
        assert every.total() >= SENT
        assert every.keys() == {str(each) for each in GUARDED}


@pytest.mark.parametrize("seed", SEEDS)
async def test_hostile_input_reaches_nothing(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - the same cases each time
    world, asked = Tenants(), list[str]()
    answers: Counter[int] = Counter()
    counted = Counter[str]()
    async with world.client("ann") as ann, world.client("bob") as bob:
        with watched(asked):
            for number in range(A_WORLD):
                caller, client = rng.choice((("ann", ann), ("bob", bob)))
                endpoint = GUARDED[number % len(GUARDED)]
                sent = request(rng, world, client, endpoint)
                answer = await client.send(sent)
                world.judge(caller, answer)
                answers[answer.status_code // 100] += 1
                counted[str(endpoint)] += 1
    sent_to[seed] = counted
    assert asked, "nothing was asked of MongoDB, so nothing was seen"
    assert answers[2] >= 0.1 * A_WORLD, f"too few come through to say anything: {answers}"
    assert answers[4] >= 0.1 * A_WORLD


async def test_a_careless_endpoint_is_found() -> None:
    """The control: an operator, a prefix, another's namespace, each let through by one line."""

    async def careless(caller: Calling, parts: Using, request: Request) -> dict[str, str]:
        given = await request.json()
        match given["way"]:
            case "operator":
                await parts.records.count({"userId": given["userId"]})
            case "prefix":
                parts.files.url(given["key"])
            case "path":
                await parts.resources.get(Kind.TRANSCRIPTION, given["namespace"], "x")
        return {}

    world = Tenants()
    world.app.post("/careless")(careless)
    async with world.client("ann") as ann:
        with pytest.raises(OperatorReached), watched([]):
            await ann.post("/careless", json={"way": "operator", "userId": {"$ne": MARK}})
        world.judge("ann", await ann.post("/careless", json={"way": "prefix", "key": world.jobs[0].prefixes[0]}))
        for key in ("temp/x", "loras/bob/", world.jobs[-1].prefixes[0], ""):
            answer = await ann.post("/careless", json={"way": "prefix", "key": key})
            with pytest.raises(AssertionError, match=r"reached"):
                world.judge("ann", answer)
        answer = await ann.post("/careless", json={"way": "path", "namespace": "blue"})
        with pytest.raises(AssertionError, match=r"asked for"):
            world.judge("ann", answer)
    for namespace in ("red/../blue", "red%2f..", "red?x=", "red\n", ""):
        with pytest.raises(AssertionError, match=r"no path of ours"):
            await world.api.call("GET", f"/apis/contentgen.dev/v1alpha1/namespaces/{namespace}/transcriptions/x")


@pytest.mark.parametrize(
    "asked",
    [
        {"userId": {"$ne": MARK}},
        {"userId": {"$eq": {"$gt": ""}}},
        {"jobId": {"$in": [{"$gt": ""}]}},
        {"$where": "1"},
        {MARK: 1},
        {"$set": {f"files.{MARK}": 1}},
        {"$set": {"files.a b": 1}},
        [{"$match": {"tags": {"$regex": "a"}}}],
    ],
    ids=str,
)
def test_what_no_caller_may_cause_is_seen(asked: object) -> None:
    with pytest.raises(OperatorReached):
        look(asked)


def test_what_we_ask_ourselves_is_let_through() -> None:
    look({"$and": [{"userId": {"$eq": MARK}}, {"terms": {"$gte": MARK, "$lt": MARK}}, {"discard": {"$exists": False}}]})
    look({"$set": {"metadata.tags": [MARK], "metadata": {"description": MARK}}})
