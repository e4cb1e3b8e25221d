"""Shared and public jobs: visibility, read-only access, revocation."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_gateway.auth import visibility
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import AT_ONCE_OF_ONE, MOST_REVIEWS, Verb
from contentgen_gateway.problems import NotFound
from contentgen_gateway.stores.shares import INDEXES, MOST, MOST_ASKED, MOST_NAMESPACES, Grant, Grantee, Share, bounded
from contentgen_simulation.gateway.cluster import ClusterApi, WritableWorld
from contentgen_simulation.gateway.server import START

ANN = ("ann", "*", "*", "red")
BOB = ("bob", "*", "*", "blue")
ROBOT = "system:serviceaccount:blue:robot"
CAROL = ("carol", "get", "imagegenerations", "blue")


@pytest.fixture
def world() -> WritableWorld:
    return WritableWorld(ANN, BOB, CAROL, ("vera", "get", "*", "red"))


async def share(world: WritableWorld, job: str, who: str = "ann", method: str = "POST", **given: Any) -> Any:
    async with world.client(who) as client:
        if method == "DELETE":
            return await client.delete(f"/api/assets/{job}/share", params=given)
        return await client.post(f"/api/assets/{job}/share", json=given)


async def sees(world: WritableWorld, who: str, job: str) -> bool:
    """Visible jobs, by id and in a list, which must agree."""
    async with world.client(who) as client:
        answer = await client.get(f"/api/jobs/{job}")
        listed = (await client.get("/api/jobs")).json()["jobs"]
    assert (answer.status_code == 200) == (job in [record["jobId"] for record in listed])
    return bool(answer.status_code == 200)


async def test_a_user_sees_what_is_shared_until_it_is_taken_back(world: WritableWorld) -> None:
    job, other = world.job(1), world.job(2)
    assert not await sees(world, "bob", job)
    answer = await share(world, job, users=["bob"])
    assert (answer.status_code, [each_share["user"] for each_share in answer.json()["shares"]]) == (200, ["bob"])
    assert await sees(world, "bob", job)
    assert not await sees(world, "bob", other)
    assert not await sees(world, ROBOT, job)
    assert (await share(world, job, method="DELETE", users=["bob"])).json()["shares"] == []
    assert not await sees(world, "bob", job)


async def test_share_with_a_namespace_reaches_its_service_accounts(world: WritableWorld) -> None:
    job, picture = world.job(1), world.job(2, Kind.IMAGE_GENERATION)
    for each in (job, picture):
        await share(world, each, namespaces=["blue"])
    assert await sees(world, "bob", job)
    assert await sees(world, ROBOT, job)
    assert not await sees(world, "dave", job)
    async with world.client("carol") as carol:  # who may get pictures there, and nothing else
        assert (await carol.get(f"/api/jobs/{picture}")).status_code == 200
        assert (await carol.get(f"/api/jobs/{job}")).status_code == 404


async def test_share_permits_viewing_only(world: WritableWorld) -> None:
    job = world.job(1)
    await share(world, job, users=["bob"])
    async with world.client("bob") as bob:
        answers = [
            await bob.post(f"/api/jobs/{job}/cancel"),
            await bob.post(f"/api/jobs/{job}/retry"),
            await bob.delete(f"/api/jobs/{job}"),
            await bob.patch(f"/api/assets/{job}", json={"tags": []}),
            await bob.post(f"/api/assets/{job}/share", json={"users": ["eve"]}),
            await bob.get(f"/api/assets/{job}/share"),
            await bob.delete(f"/api/assets/{job}/share"),
        ]
    assert [answer.status_code for answer in answers] == [403] * 7
    assert await sees(world, "bob", job)


async def test_share_admits_viewers_and_no_other_verb(world: WritableWorld) -> None:
    job = world.job(1, metadata={"isPublic": True})
    await share(world, job, users=["bob"])
    assert await world.dependencies.visibility.job(Caller("bob"), job)
    for verb in (Verb.PATCH, Verb.DELETE):
        with pytest.raises(NotFound):
            await world.dependencies.visibility.job(Caller("bob"), job, verb)


async def test_public_job_is_visible_with_any_token(world: WritableWorld) -> None:
    job = world.job(1, metadata={"isPublic": True, "tags": []})
    async with world.client("dave") as dave, world.client(None) as nobody:
        assert (await dave.get(f"/api/jobs/{job}")).status_code == 200
        assert (await nobody.get(f"/api/jobs/{job}")).status_code == 401
        assert (await dave.delete(f"/api/jobs/{job}")).status_code == 403
        assert (await dave.get("/api/jobs")).json()["total"] == 0, "only where it is asked for"
        assert (await dave.get("/api/jobs?public=true")).json()["total"] == 1
        assert (await dave.get("/api/jobs?public=true&namespace=blue")).json()["total"] == 0
        assert (await dave.get("/api/jobs?public=true&namespace=red")).json()["total"] == 1
        assert (await dave.get("/api/jobs?public=true&userId=bob")).json()["total"] == 0


async def test_list_of_a_namespace_has_only_its_shared_jobs(world: WritableWorld) -> None:
    job = world.job(1)
    await share(world, job, users=["bob"])
    async with world.client("bob") as bob:
        assert (await bob.get("/api/jobs?namespace=red")).json()["total"] == 1
        assert (await bob.get("/api/jobs?namespace=blue")).json()["total"] == 0
        assert (await bob.get("/api/jobs?userId=ann")).json()["total"] == 1


async def test_shared_jobs_are_not_in_the_callers_sums(world: WritableWorld) -> None:
    await share(world, world.job(1), users=["bob"])
    async with world.client("bob") as bob:
        assert (await bob.get("/api/assets/stats?namespace=blue")).json()["totalJobs"] == 0


async def test_repeated_share_is_stored_once_and_revoked_whole(world: WritableWorld) -> None:
    job = world.job(1)
    for _ in range(2):
        answer = await share(world, job, users=["bob", "bob"], namespaces=["blue"])
    assert len(answer.json()["shares"]) == 2
    assert (await share(world, job, method="DELETE")).json()["shares"] == []


async def test_a_deleted_job_is_shared_with_nobody(world: WritableWorld) -> None:
    job = world.job(1)
    await share(world, job, users=["bob"])
    async with world.client("ann") as ann:
        assert (await ann.delete(f"/api/jobs/{job}")).status_code == 202
    assert world.database["shares"].count_documents({}) == 0


@pytest.mark.parametrize(
    "body", [{}, {"users": []}, {"user": ["bob"]}, {"users": [{"$ne": 1}]}, {"namespaces": ["../x"]}, {"users": [""]}]
)
async def test_impossible_grantee_is_refused(world: WritableWorld, body: dict[str, Any]) -> None:
    assert (await share(world, world.job(1), **body)).status_code == 422


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"users": ["bob", "system:serviceaccount:blue"]}, "system:serviceaccount:NAMESPACE:NAME"),
        ({"users": ["system:serviceaccount:blue:Robot"]}, "system:serviceaccount:NAMESPACE:NAME"),
        ({"users": ["system:serviceaccount:blue:robot:x"]}, "system:serviceaccount:NAMESPACE:NAME"),
        ({"users": ["system:authenticated"]}, "a group"),
        ({"users": ["system:serviceaccounts:blue"]}, "share it with the namespace"),
        ({"namespaces": ["blue.example"]}, "not a valid name of a namespace"),
        ({"namespaces": ["b" * 64]}, "not a valid name of a namespace"),
    ],
)
async def test_a_name_that_nobody_can_have_is_refused(world: WritableWorld, body: dict[str, Any], told: str) -> None:
    job = world.job(1)
    answer = await share(world, job, **body)
    assert answer.status_code == 422
    assert told in answer.json()["detail"]
    assert (await share(world, job, users=[ROBOT, "ann@example.com", "system:node:a"])).status_code == 200


async def test_impossible_grantee_of_an_old_share_can_be_removed(world: WritableWorld) -> None:
    job = world.job(1)
    await share(world, job, users=["bob"])
    kept, to = world.database["shares"].find_one(), "user:system:masters"
    world.database["shares"].insert_one(kept | {"_id": f"{job}/{to}", "to": to})
    assert (await share(world, job, method="DELETE", users=["bob"])).json()["shares"] != []
    assert (await share(world, job, method="DELETE", users=["system:masters"])).json()["shares"] == []


async def test_an_unknown_word_takes_nothing_back(world: WritableWorld) -> None:
    job = world.job(1)
    await share(world, job, users=["bob"])
    assert (await share(world, job, method="DELETE", user="bob")).status_code == 422
    assert await sees(world, "bob", job)


def test_each_question_is_served_by_an_index() -> None:
    assert INDEXES["job_id"][0][0] == "jobId"
    assert [each for each, _ in INDEXES["to_shared"]] == ["to", "sharedAt"]


# A hostile tenant, who shares with very many names


def plant(world: WritableWorld, owner: str, job: str, grantees: list[str], kind: Kind = Kind.LORA_TRAINING) -> None:
    """Shares in the database, past the limits."""
    world.database["shares"].insert_many(
        {
            "_id": f"{job}/{to}",
            "jobId": job,
            "namespace": owner,
            "type": kind.record_type,
            "to": to,
            "sharedBy": "mallory",
            "sharedAt": START,
        }
        for to in grantees
    )


def names(prefix: str, count: int) -> list[str]:
    return [f"namespace:{prefix}-{number:04}" for number in range(count)]


def reviewed(world: WritableWorld) -> set[str]:
    """Namespaces of the access reviews."""
    return {review["namespace"] for review in world.api.reviews}


async def test_shares_of_a_tenant_do_not_slow_other_lists(world: WritableWorld) -> None:
    plant(world, "evil", world.job(1, namespace="evil"), names("made-up", 5000))
    async with world.client("bob") as bob:
        answer = await bob.get("/api/jobs")
    assert (answer.status_code, answer.json()["incomplete"]) == (200, True)
    assert len([text for text in reviewed(world) if text.startswith("made-up")]) == MOST_NAMESPACES
    assert len(world.api.reviews) <= MOST_NAMESPACES + 3 * 3, "for the kinds that were shared, and no others"


async def test_hostile_owners_do_not_crowd_out_an_honest_share(world: WritableWorld) -> None:
    for number in range(100):
        plant(world, f"evil-{number}", world.job(1000 + number, namespace=f"evil-{number}"), names(f"x{number}", 20))
    job = world.job(1, namespace="zoo")  # the last by name
    plant(world, "zoo", job, ["namespace:blue"])
    async with world.client("bob") as bob:
        answer = (await bob.get("/api/jobs")).json()
    assert ([each_job["jobId"] for each_job in answer["jobs"]], answer["incomplete"]) == ([job], True)
    assert len([text for text in reviewed(world) if text.startswith("x")]) < MOST_ASKED


async def test_a_list_of_one_namespace_asks_for_its_shares_alone(world: WritableWorld) -> None:
    plant(world, "evil", world.job(1, namespace="evil"), names("made-up", 30))
    plant(world, "red", job := world.job(2), ["namespace:blue"])
    async with world.client("bob") as bob:
        answer = (await bob.get("/api/jobs?namespace=red")).json()
    assert ([each_job["jobId"] for each_job in answer["jobs"]], answer["incomplete"]) == ([job], False)
    assert reviewed(world) == {"red", "blue"}


async def test_job_with_many_grantees_costs_few_reviews(world: WritableWorld) -> None:
    plant(world, "evil", job := world.job(1, namespace="evil"), names("made-up", 400))
    async with world.client("bob") as bob:
        assert (await bob.get(f"/api/jobs/{job}")).status_code == 404
    assert len(world.api.reviews) <= MOST_NAMESPACES + 1


async def test_shares_of_a_namespace_reach_a_bounded_number(world: WritableWorld) -> None:
    first, second = world.job(1), world.job(2)
    many = [f"team-{number}" for number in range(MOST_NAMESPACES)]
    assert (await share(world, first, namespaces=many)).status_code == 200
    assert (await share(world, second, namespaces=many[:5])).status_code == 200, "the same ones again"
    refused = await share(world, second, namespaces=["one-more"])
    assert refused.status_code == 422
    assert "namespaces: ['one-more']" in refused.json()["detail"]
    assert str(MOST_NAMESPACES) in refused.json()["detail"]
    assert refused.json()["errors"][0]["loc"] == ["body", "namespaces"]
    assert (await share(world, first, method="DELETE", namespaces=many[-1:])).status_code == 200
    assert (await share(world, second, namespaces=["one-more"])).status_code == 200


async def test_the_jobs_of_a_namespace_have_a_bounded_number_of_shares(
    world: WritableWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contentgen_gateway.services.changes.sharing.MOST_OF_A_NAMESPACE", 5)
    assert (await share(world, world.job(1), users=["bob", "carol", "dave"])).status_code == 200
    refused = await share(world, job := world.job(2), users=["bob", "carol", "dave"])
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["body", "users"])
    assert "5 shares" in refused.json()["detail"]
    assert (await share(world, job, users=["bob", "carol"])).status_code == 200


async def test_a_list_asks_kubernetes_a_bounded_number_of_questions(world: WritableWorld) -> None:
    for number in range(MOST_REVIEWS // len(Kind) + 1):
        world.job(number, namespace=f"team-{number}")
    async with world.client("bob") as bob:
        answer = await bob.get("/api/jobs")
        assert (await bob.get("/api/jobs?namespace=blue")).status_code == 200
    assert (answer.status_code, "namespace=" in answer.json()["detail"]) == (422, True)
    assert len(world.api.reviews) < 20, "refused before the first of them"


async def test_list_leaves_reviews_for_other_callers(world: WritableWorld) -> None:
    asking, most = 0, 0

    async def counted(method: str, path: str, body: Any = None) -> Any:
        nonlocal asking, most
        asking, most = asking + 1, max(most, asking + 1)
        try:
            return await ClusterApi.call(world.api, method, path, body)
        finally:
            asking -= 1

    world.api.call = counted  # type: ignore[method-assign]
    await world.dependencies.authorizer.which(Caller("bob"), Verb.LIST, [f"team-{number}" for number in range(50)])
    assert most == AT_ONCE_OF_ONE


async def test_flooded_caller_is_told_and_can_filter_by_namespace(world: WritableWorld) -> None:
    plant(world, "red", job := world.job(1), ["user:bob"])
    for number in range(MOST):
        plant(world, "evil", world.job(1000 + number, namespace="evil"), ["user:bob"])
    later = {"$set": {"sharedAt": START + timedelta(days=1)}}
    world.database["shares"].update_many({"namespace": "evil"}, later)
    async with world.client("bob") as bob:
        assert (await bob.get("/api/jobs?limit=1")).json()["incomplete"] is True
        answer = (await bob.get("/api/jobs?namespace=red")).json()
    assert ([each_job["jobId"] for each_job in answer["jobs"]], answer["incomplete"]) == ([job], False)


# The event loop, which serves all callers


@pytest.fixture
def caching() -> WritableWorld:
    """World that asks about each right and tenant once."""
    return WritableWorld(ANN, BOB, clock=lambda: 0.0, tenants_clock=lambda: 0.0)


class Turns:
    """Things that are handled between two turns of the event loop."""

    def __init__(self) -> None:
        self.handled: set[object] = set()
        self.most = self.total = 0

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        async def other_request() -> None:
            while True:
                self._end()
                await asyncio.sleep(0)

        task = asyncio.create_task(other_request())
        yield
        task.cancel()
        self._end()

    def _end(self) -> None:
        self.most, self.total = max(self.most, len(self.handled)), self.total + len(self.handled)
        self.handled.clear()


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize("namespace", ["blue", "red"], ids=["own", "foreign"])
async def test_many_jobs_of_one_request_leave_turns_to_other_requests(
    caching: WritableWorld, monkeypatch: pytest.MonkeyPatch, namespace: str, *, shared: bool
) -> None:
    """A page of collections has up to 10,000 jobs, and the caches may have all answers about them."""
    turns = Turns()

    class Noted(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            turns.handled.add(self["jobId"])
            return super().get(key, default)

    kind = Kind.LORA_TRAINING.record_type
    found = {f"job-{n}": Noted(jobId=f"job-{n}", type=kind, namespace=namespace) for n in range(1000)}

    async def fields(_: Iterable[str]) -> dict[str, Noted]:
        return found

    async def shares(ids: Iterable[str], _: object) -> list[Share]:
        to = [Grantee("namespace", "blue"), *(Grantee("namespace", f"team-{n}") for n in range(MOST_NAMESPACES - 1))]
        return [Share(job, namespace, kind, each, "ann", START) for job in ids for each in to if shared]

    monkeypatch.setattr(caching.dependencies.records, "visibility_fields", fields)
    monkeypatch.setattr(caching.dependencies.shares, "of_jobs", shares)
    for _ in range(2):  # the caches have the answers of the second time
        async with turns.counted():
            seen = await caching.dependencies.visibility.jobs(Caller("bob"), list(found))
    assert len(seen) == (len(found) if shared or namespace == "blue" else 0)
    assert turns.total >= 2 * len(found), "the stub is read"
    assert turns.most <= 100


async def test_rights_in_many_namespaces_leave_turns_to_other_requests(
    caching: WritableWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, may, of = Turns(), caching.dependencies.authorizer.may, caching.dependencies.tenants.of

    async def noted_right(caller: Caller, verb: Verb, kind: Kind, namespace: str) -> bool:
        turns.handled.add((kind, namespace))
        return await may(caller, verb, kind, namespace)

    async def noted_tenant(namespace: str) -> object:
        turns.handled.add(namespace)
        return await of(namespace)

    monkeypatch.setattr(caching.dependencies.authorizer, "may", noted_right)
    monkeypatch.setattr(caching.dependencies.tenants, "of", noted_tenant)
    teams = [f"team-{number}" for number in range(250)]
    for _ in range(2):
        async with turns.counted():
            await caching.dependencies.authorizer.which(Caller("bob"), Verb.LIST, teams)
            await caching.dependencies.tenants.of_all(teams)
    assert turns.total == 2 * len(teams) * (len(Kind) + 1)
    assert turns.most <= 200, "the end of one batch and the next one"


async def test_grants_of_all_namespaces_are_sorted_in_a_thread(
    world: WritableWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be 60 of each namespace, and each list needs them."""
    threads = set[int]()

    def noted(grants: Iterable[Grant]) -> tuple[dict[str, frozenset[str]], bool]:
        threads.add(threading.get_ident())
        return bounded(grants)

    monkeypatch.setattr(visibility, "bounded", noted)
    await world.dependencies.visibility.scope(Caller("bob"), "blue", None)
    assert threads
    assert threading.get_ident() not in threads
