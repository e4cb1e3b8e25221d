"""Hostile ids, parameters, headers and bodies: none of them leaves its prefix of the bucket, becomes an operator of
MongoDB, goes elsewhere in the Kubernetes API, or is answered with 500. All endpoints of the app are sent some.

`make test-api` sends 100,000; here it is a sample.
"""

import base64
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
from contentgen_gateway.injection import CallerDep, DependenciesDep
from contentgen_simulation import hostile_input
from contentgen_simulation.gateway.endpoints import GatewayEndpoint, case_of, endpoints, suits
from contentgen_simulation.gateway.tenants import TenantWorld
from contentgen_simulation.hostile_input import MARK, OperatorReached, look, watched

SENT = 100_000 if os.environ.get("CONTENTGEN_API") == "all" else 1_000
REPORT = Path(__file__).resolve().parents[4] / "build/test/hostile-requests.json"
A_WORLD = 1_000  # requests until everything is as it was: some of them delete
HEADERS = ("Idempotency-Key", "Last-Event-ID", "If-Match", "X-Request-Id")
GUARDED = [each_endpoint for each_endpoint in endpoints(TenantWorld().app) if each_endpoint.signed_in]


def request(
    rng: random.Random, world: TenantWorld, client: httpx.AsyncClient, endpoint: GatewayEndpoint
) -> httpx.Request:
    """Request with a hostile value, or, every fifth, a valid one."""
    case, known = case_of(endpoint), tuple(job.job_id for job in world.jobs)
    job = rng.choice([each_job for each_job in world.jobs if suits(endpoint, each_job)])
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
        headers[rng.choice(HEADERS)] = "".join(element for element in value if element.isprintable())[:4000]
    safe = rng.choice(("", "/", "/.%$"))
    path = endpoint.at(quoted(identity, safe), job, quoted(file, safe) if file is not None else None)
    content = {"data": case.form(job)} if case.form else {"json": usual} if usual is not None else {}
    return client.build_request(endpoint.method, path, params=parameters, headers=headers, **content)


def quoted(text: str, safe: str) -> str:
    return quote(text.encode("utf-8", "replace").decode(), safe=safe)


SEEDS = range(-(-SENT // A_WORLD))
sent_to: dict[int, Counter[str]] = {}
"""Requests by seed and endpoint."""


@pytest.fixture(scope="module", autouse=True)
def _enough_is_sent() -> Iterator[None]:
    """After all seeds: minimum number of requests, at least one for each endpoint."""
    yield
    if set(sent_to) == set(SEEDS):
        every = sum(sent_to.values(), Counter[str]())
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps({"requests": every.total(), "endpoints": every}, indent=2) + "\n")
        assert every.total() >= SENT
        assert every.keys() == {str(path) for path in GUARDED}


@pytest.mark.parametrize("seed", SEEDS)
async def test_hostile_input_reaches_nothing(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - the same cases each time
    world, asked = TenantWorld(), list[str]()
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


# Values in the place of a number, a time, a word or a cursor. Each is sent alone: one wrong value would hide others.
DATES = (
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01", "9999-12-31", "2026-02-30", "0000-00-00",
    "2026-11-21T12:00:00", "2026-11-21T12:00:00+99:99", "99999-01-01", "2026-11-21T24:00:00Z", "\x00",
)  # fmt: skip
PLACES: tuple[object, ...] = (
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "2026-11-21T12:00:00", "2026-11-21", "", "\ud800",
    "\x00", None, True, 0, -1, 2**63, 99999999999999999999, 1e308, float("nan"), [], {}, {"$gt": ""},
)  # fmt: skip
OTHERS = ("-1", "NaN", "9" * 40, "1e999", "\x00", "\ud7ff", "$ne", "a" * 300, "{}")
PAGED = ("cursor", "from", "to", "sort", "limit", "type", "q", "tags", "namespace")
"""Parameters of the pages, which parse their query themselves."""


def cursor(*entries: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(entries).encode()).decode().rstrip("=")


def cursors(real: str | None) -> list[str]:
    """Hostile cursors: in an earlier format, and in the current one with one entry replaced."""
    found = [cursor(place, "x") for place in PLACES] + [cursor(), cursor("x"), "e30", "bnVsbA", "W10", "////", "=", "a"]
    if real is not None:
        *first, _, last = json.loads(base64.urlsafe_b64decode(real + "=" * (-len(real) % 4)))
        found += [cursor(*first, place, last) for place in PLACES]
        found += [cursor(*first, None, job) for job in ("\ud800", 1, None, {}, "a" * 250)]
    return found


async def queries(client: httpx.AsyncClient, endpoint: GatewayEndpoint, path: str) -> list[dict[str, str]]:
    """Parameters of an endpoint with hostile values."""
    usual = dict(case_of(endpoint).query)
    found = [
        usual | {name: value}
        for name in endpoint.query or PAGED
        for value in ((*DATES, *OTHERS) if name in ("from", "to") else OTHERS)
    ]
    if "cursor" not in (endpoint.query or PAGED):
        return found
    for sort in ("createdAt", "progress", "status") if "sort" in endpoint.query else ("",):
        asked = usual | ({"sort": sort} if sort else {})
        first = await client.get(path, params=asked | {"limit": "1"})
        real = first.json().get("nextCursor") if "json" in first.headers["content-type"] else None
        found += [asked | {"cursor": cursor} for cursor in cursors(real)]
    return found


LISTS = ("/jobs", "/pictures", "/loras", "/transcripts", "/search", "/collections")
ASKING = [
    each_path for each_path in GUARDED if each_path.method == "GET" and (each_path.query or each_path.path in LISTS)
]


@pytest.mark.parametrize("endpoint", ASKING, ids=str)
async def test_no_query_breaks_an_endpoint(endpoint: GatewayEndpoint) -> None:
    """No 500; refusals name the field; queries can be encoded by MongoDB's driver."""
    world, refused = TenantWorld(), 0
    job = next(each_job for each_job in world.jobs if suits(endpoint, each_job) and each_job.namespace == "red")
    path = endpoint.at(job.job_id, job)
    async with world.client("root") as root:
        with watched([]):
            for query in await queries(root, endpoint, path):
                answer = await root.get(path, params=query)
                assert answer.status_code < 500, f"{query}: {answer.text[:500]}"
                if answer.status_code == 422:
                    refused += 1
                    assert set(answer.json()["errors"][0]["loc"]) & query.keys(), answer.text
    assert refused, "nothing was refused, so nothing was read"


async def test_a_careless_endpoint_is_found() -> None:
    """Control: an endpoint that lets an operator, a prefix and a foreign namespace through."""

    async def careless(caller: CallerDep, parts: DependenciesDep, request: Request) -> dict[str, str]:
        given = await request.json()
        match given["way"]:
            case "operator":
                await parts.records.count({"userId": given["userId"]})
            case "prefix":
                parts.files.url(given["key"])
            case "path":
                await parts.resources.get(Kind.TRANSCRIPTION, given["namespace"], "x")
        return {}

    world = TenantWorld()
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
def test_detects_responses_that_no_caller_may_cause(asked: object) -> None:
    with pytest.raises(OperatorReached):
        look(asked)


def test_accepts_our_own_requests() -> None:
    look({"$and": [{"userId": {"$eq": MARK}}, {"terms": {"$gte": MARK, "$lt": MARK}}, {"discard": {"$exists": False}}]})
    look({"$set": {"metadata.tags": [MARK], "metadata": {"description": MARK}}})
