"""Each MongoDB query of the gateway is served by an index that the operator creates.

An index serves a question where its first field is compared in every alternative of it; where nothing is compared at
all, the question is for everything, in the order of an index.
"""

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from mongomock.collection import Collection

from contentgen_contract.names import Kind
from contentgen_contract.records import indexes
from contentgen_contract.records.searching import conditions
from contentgen_gateway.live import recent_creations
from contentgen_gateway.stores import aggregations, collections, shares
from contentgen_gateway.stores.aggregations import By
from contentgen_gateway.stores.queries import JobFilter, Order, Scope, Sorted, count_filter, page_query
from contentgen_gateway.transcripts import index
from contentgen_operator.stores.records import DeletionMark, RecordStore
from contentgen_simulation.gateway.bucket import RecordingBucket
from contentgen_simulation.gateway.request_corpus import CHANGES, EVERYTHING, PATHS, SCOPES, WANTED
from contentgen_simulation.gateway.server import GatewayWorld


def alternatives(filter_: dict[str, Any]) -> Iterator[frozenset[str]]:
    """Fields that each alternative of a filter compares."""
    compared = (key for key, value in filter_.items() if not key.startswith("$") and _narrows(value))
    parts: list[list[frozenset[str]]] = [[frozenset(compared)]]
    parts += [list(alternatives(element)) for element in filter_.get("$and", ())]
    if "$or" in filter_:
        parts.append([found for element in filter_["$or"] for found in alternatives(element)])
    for combined in itertools.product(*parts):
        yield frozenset().union(*combined)


def _narrows(value: Any) -> bool:
    """True if the comparison can use an index, unlike a negation."""
    return not (isinstance(value, dict) and value.keys() <= {"$ne", "$nin", "$exists", "$not"})


def served(filter_: dict[str, Any], declared: dict[str, indexes.Keys]) -> bool:
    """True if, for each alternative, an index begins with a compared field."""
    first = {"_id"} | {keys[0][0] for keys in declared.values()}
    return all(first & fields for fields in alternatives(filter_))


def test_alternatives_are_taken_apart() -> None:
    filter_ = {"$and": [{"a": 1}, {"$or": [{"b": 1}, {"$and": [{"c": 1}, {"d": 1}]}]}]}
    assert set(alternatives(filter_)) == {frozenset("ab"), frozenset("acd")}
    assert not served({"$or": [{"jobId": 1}, {"progress": 1}]}, indexes.JOBS)
    assert not served({"jobId": {"$ne": 1}, "progress": 1}, indexes.JOBS)


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_lists_and_their_counts(scope: Scope) -> None:
    for wanted in WANTED:
        query = page_query(scope, wanted)
        keys = indexes.JOBS[query.index]
        order = query.sort if wanted.order is Order.NEWEST else tuple((key, -to) for key, to in query.sort)
        assert keys[-2:] == order or (scope == EVERYTHING and wanted.sort is not Sorted.CREATED), wanted
        if scope != EVERYTHING or wanted.user_id or wanted.tags or wanted.terms:
            assert served(count_filter(scope, wanted), indexes.JOBS), wanted
        for fields in alternatives(query.filter):
            if not fields & {"jobId", "metadata.isPublic"}:  # these have their own
                assert {name for name, _ in keys[:-2]} <= fields, (query.index, wanted)


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
@pytest.mark.parametrize("q", ["a", "a b", "e-mail", "预算表"])
def test_a_search_in_transcripts(scope: Scope, q: str) -> None:
    terms = conditions(q)
    query = page_query(scope, JobFilter(type="transcription", terms=terms, across=index.across_end(terms)))
    keys = index.INDEXES[query.index]
    assert keys[-len(index.IN_ORDER) :] == index.IN_ORDER
    assert all(
        {name for name, _ in keys[: -len(index.IN_ORDER)]} <= alternative for alternative in alternatives(query.filter)
    )


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_sums(scope: Scope) -> None:
    scope = aggregations.without_shared(scope)
    if scope.nothing:
        return
    for wanted in WANTED:
        if wanted.tags or wanted.terms:
            continue
        every = [(aggregations.job_totals(scope, wanted, by), indexes.JOBS) for by in (*By, None)]
        every += [(aggregations.purchase_totals(scope, wanted, by), indexes.LEDGER) for by in By]
        for tally, declared in every:
            compared = {name for name, _ in declared[tally.index]} - {"createdAt", "jobId"}
            assert all(compared <= fields for fields in alternatives(tally.match)), wanted


DECLARED = {
    "jobs": indexes.JOBS,
    "ledger": indexes.LEDGER,
    "shares": shares.INDEXES,
    "collections": collections.INDEXES,
    "transcripts": index.INDEXES,
    "transcripts-indexed": {},
    "signed-out": {},
    "recent-creations": recent_creations.INDEXES,
    "namespaces": {},
}
METHODS = dict.fromkeys(
    ("find", "find_one", "count_documents", "aggregate", "update_one", "update_many", "replace_one", "delete_one",
     "delete_many"), 0,
) | {"distinct": 1}  # fmt: skip
Asked = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """All filters by collection, recorded at the driver, including those without a Query value."""
    asked: Asked = []
    inside: set[int] = set()  # threads: mongomock's aggregate finds everything by itself
    for name, place in METHODS.items():
        original = getattr(Collection, name)

        def note(self: Any, *args: Any, _original: Any = original, _place: int = place, **kwargs: Any) -> Any:
            thread = threading.get_ident()
            if thread in inside:
                return _original(self, *args, **kwargs)
            given = args[_place]
            filter_ = given[0]["$match"] if isinstance(given, list) else given
            asked.append((self.name, {args[0]: None} | filter_ if _place else filter_))  # an index has distinct values
            inside.add(thread)
            try:
                return _original(self, *args, **kwargs)
            finally:
                inside.discard(thread)

        monkeypatch.setattr(Collection, name, note)
    return asked


def check(asked: Asked) -> None:
    assert asked
    for collection, filter_ in asked:
        if collection == "clusters":  # a handful of documents, all of which are read
            continue
        assert served(filter_, DECLARED[collection]), (collection, filter_)


@pytest.mark.parametrize("path", PATHS)
async def test_all_that_a_request_asks(path: str, asked: Asked) -> None:
    world = GatewayWorld(("ann", "*", "*", "red"))
    bucket = RecordingBucket()
    bucket.behind(world.dependencies.files)
    key = "loras/ann/j/v1/model.safetensors"
    job = world.job(1, versions=[{"version": 1, "s3Key": key}])
    bucket.objects |= {key: b"x", "datasets/ann/j/dataset.json": b"{}"}
    async with world.client("ann") as ann:
        answer = await ann.get(path.format(job))
    assert answer.status_code == 200, answer.text
    check(asked)


async def test_all_that_changes_ask(asked: Asked) -> None:
    world = GatewayWorld(("ann", "*", "*", "red"))
    RecordingBucket().behind(world.dependencies.files)
    job = world.job(1)
    async with world.client("ann") as ann:
        for method, path, body in CHANGES:
            answer = await ann.request(method, path.format(job), json=body)
            assert answer.status_code < 300, (method, path, answer.text)
    check(asked)


async def test_all_that_the_index_of_transcripts_asks(asked: Asked) -> None:
    world = GatewayWorld(("ann", "*", "*", "red"))
    bucket = RecordingBucket()
    bucket.behind(world.dependencies.files)
    key = "transcripts/ann/j/transcript.json"
    bucket.objects[key] = b"{}"
    for number in range(2):
        world.job(number, Kind.TRANSCRIPTION, versions=[{"version": 1, "transcriptUrl": f"s3://assets/{key}"}])
    await world.dependencies.indexer.update_all()
    world.database["jobs"].update_one({"jobId": {"$regex": "0$"}}, {"$set": {"userId": "bob"}})  # to be amended
    world.database["jobs"].delete_one({"jobId": {"$regex": "1$"}})
    asked.clear()
    await world.dependencies.indexer.update_all()
    async with world.client("ann") as ann:
        assert (await ann.get("/api/search/transcripts?q=a")).status_code == 200
    names = {"jobs", "ledger", "shares", "transcripts", "transcripts-indexed", "signed-out", "clusters", "namespaces"}
    assert {name for name, _ in asked} == names
    check(asked)


async def test_operators_queries_have_indexes(asked: Asked) -> None:
    """A pass of the operator's garbage collector."""
    records = RecordStore(GatewayWorld().database["jobs"], storage=None)  # type: ignore[arg-type]  # none is used
    assert await records.marks(10) == []
    assert await records.discard_of(DeletionMark(namespace="red", uid="u")) is None
    check(asked)
