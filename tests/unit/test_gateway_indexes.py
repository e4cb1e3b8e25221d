"""Each question that the gateway puts to MongoDB is served by an index that the operator makes.

An index serves a question where its first field is compared in every alternative of it; where nothing is compared at
all, the question is for everything, in the order of an index.
"""

import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from mongomock.collection import Collection

from contentgen_contract import indexes
from contentgen_contract.names import Kind
from contentgen_gateway import collection_store, shares, tallies
from contentgen_gateway.queries import JobStatus, Scope, Wanted, counting, listing
from contentgen_gateway.tallies import By
from contentgen_simulation.bucket import Bucket
from contentgen_simulation.gateway import GatewayWorld

ALL = frozenset(Kind)
LORAS = frozenset({Kind.LORA_TRAINING})
SCOPES = {
    "everything": Scope({"": ALL}),
    "one namespace": Scope({"red": ALL}),
    "several": Scope({"red": ALL, "blue": ALL}),
    "one kind": Scope({"red": LORAS}),
    "mixed": Scope({"red": ALL, "blue": LORAS}),
    "shared": Scope({}, jobs=("j",)),
    "own and shared": Scope({"red": ALL}, jobs=("j",)),
    "own and public": Scope({"red": LORAS}, public=True, only="red"),
    "all that is public": Scope({"red": ALL}, jobs=("j",), public=True),
}
NOW = datetime(2026, 11, 21, tzinfo=UTC)
WANTED = [
    Wanted(user_id=user, type=type_, status=status, tags=tags, terms=terms, since=since, model=model, made=made)
    for user in (None, "ann")
    for type_ in (None, "lora-training")
    for status in (None, JobStatus.FAILED)
    for tags in ((), ("a", "b"))
    for terms in ((), ("a", "b"))
    for since in (None, NOW)
    for model, made in ((None, False), ("flux-pro", True))
]
EVERYTHING = Scope({"": ALL})


def alternatives(filter_: dict[str, Any]) -> Iterator[frozenset[str]]:
    """The fields that each alternative of a filter compares."""
    parts: list[list[frozenset[str]]] = [[frozenset(key for key in filter_ if not key.startswith("$"))]]
    parts += [list(alternatives(each)) for each in filter_.get("$and", ())]
    if "$or" in filter_:
        parts.append([found for each in filter_["$or"] for found in alternatives(each)])
    for combined in itertools.product(*parts):
        yield frozenset().union(*combined)


def served(filter_: dict[str, Any], declared: dict[str, indexes.Keys]) -> bool:
    """Whether an index begins with what each alternative compares."""
    first = {keys[0][0] for keys in declared.values()}
    return all(first & fields for fields in alternatives(filter_))


def test_alternatives_are_taken_apart() -> None:
    filter_ = {"$and": [{"a": 1}, {"$or": [{"b": 1}, {"$and": [{"c": 1}, {"d": 1}]}]}]}
    assert set(alternatives(filter_)) == {frozenset("ab"), frozenset("acd")}
    assert not served({"$or": [{"jobId": 1}, {"progress": 1}]}, indexes.JOBS)


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_lists_and_their_counts(scope: Scope) -> None:
    for wanted in WANTED:
        query = listing(scope, wanted)
        keys = indexes.JOBS[query.index]
        assert keys[-2:] == query.sort
        if scope != EVERYTHING or wanted.user_id or wanted.tags or wanted.terms:
            assert served(counting(scope, wanted), indexes.JOBS), wanted
        for fields in alternatives(query.filter):
            if not fields & {"jobId", "metadata.isPublic"}:  # these have their own
                assert {name for name, _ in keys[:-2]} <= fields, (query.index, wanted)


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_sums(scope: Scope) -> None:
    scope = tallies.own(scope)
    if scope.nothing:
        return
    for wanted in WANTED:
        if wanted.tags or wanted.terms:
            continue
        every = [(tallies.of_jobs(scope, wanted, by), indexes.JOBS) for by in (*By, None)]
        every += [(tallies.of_purchases(scope, wanted, by), indexes.LEDGER) for by in By]
        for tally, declared in every:
            compared = {name for name, _ in declared[tally.index]} - {"createdAt", "jobId"}
            assert all(compared <= fields for fields in alternatives(tally.match)), wanted


PATHS = (
    "/api/jobs/{}", "/api/lora/{}", "/api/lora/status/{}", "/api/jobs/{}/dataset", "/api/assets/{}/download",
    "/api/assets/{}/stats", "/api/jobs?userId=ann", "/api/lora/list?userId=ann", "/api/assets/loras?userId=ann",
    "/api/assets/images?userId=ann&model=flux-pro", "/api/assets/transcripts?userId=ann",
    "/api/assets/search?userId=ann&q=ava&tags=a", "/api/assets/stats?userId=ann", "/api/usage?userId=ann&by=model",
    "/api/collections?userId=ann",
)  # fmt: skip


DECLARED = {
    "jobs": indexes.JOBS,
    "ledger": indexes.LEDGER,
    "shares": shares.INDEXES,
    "collections": collection_store.INDEXES,
}
METHODS = {"find": 0, "find_one": 0, "count_documents": 0, "distinct": 1, "update_one": 0, "aggregate": 0}


@pytest.mark.parametrize("path", PATHS)
async def test_all_that_a_request_asks(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen at the driver: also what no value stands for."""
    world = GatewayWorld(("ann", "*", "*", "red"))
    bucket = Bucket()
    bucket.behind(world.parts.files)
    key = "loras/ann/j/v1/model.safetensors"
    job = world.job(1, versions=[{"version": 1, "s3Key": key}])
    bucket.objects |= {key: b"x", "datasets/ann/j/dataset.json": b"{}"}
    asked: list[tuple[str, dict[str, Any]]] = []
    inside: set[int] = set()  # threads: mongomock's aggregate finds everything by itself
    for name, place in METHODS.items():
        original = getattr(Collection, name)

        def note(self: Any, *args: Any, _original: Any = original, _place: int = place, **kwargs: Any) -> Any:
            thread = threading.get_ident()
            if thread in inside:
                return _original(self, *args, **kwargs)
            given = args[_place]
            asked.append((self.name, given[0]["$match"] if isinstance(given, list) else given))
            inside.add(thread)
            try:
                return _original(self, *args, **kwargs)
            finally:
                inside.discard(thread)

        monkeypatch.setattr(Collection, name, note)
    async with world.client("ann") as ann:
        answer = await ann.get(path.format(job))
    assert answer.status_code == 200, answer.text
    assert asked
    for collection, filter_ in asked:
        assert served(filter_, DECLARED[collection]), (collection, filter_)
