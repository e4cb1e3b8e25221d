"""Rate limits of the worker API: token reviews caused by hostile pods, and requests of regular workers."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count, islice
from typing import Any

import httpx
import mongomock
import pytest

from contentgen_contract.names import Kind
from contentgen_operator.state.assignment import Assignment
from contentgen_operator.state.observed import Resource, ResourceRef
from contentgen_operator.state.purchases import PurchaseKey
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import Leftovers, Storage
from contentgen_operator.stores.status_verification import StatusVerifier
from contentgen_operator.worker_api.authentication import NotAWorker, NotYetRecorded, Unauthenticated
from contentgen_operator.worker_api.rate_limit import Admission, TooManyRequests
from contentgen_operator.worker_api.reports import Reports
from contentgen_operator.worker_api.server import WorkerApi, _Rates, create_app
from contentgen_operator.worker_api.work_orders import OrderSettings
from contentgen_runtime.http_server.token_buckets import RateLimit, TokenBuckets
from contentgen_runtime.stores import in_thread
from contentgen_runtime.tenancy import Tenancy
from contentgen_simulation.object_storage import unreached_storage
from contentgen_simulation.world import CREATED, SPECS, UID, World, Writes

KIND = Kind.LORA_TRAINING
PROGRESS = {"step": "Downloading", "fraction": 0.5}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Reviewer:
    """API server that counts its reviews. Tokens that begin with `good` are workers', of the Job whose uid follows an
    @, or else of one Job; the namespace follows a slash.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self.reviews = 0
        self.at_once = 0
        self.most_at_once = 0
        self.pauses: asyncio.Event | None = None
        self.refusal: Exception | None = None

    async def assignment(self, token: str) -> Assignment:
        self.reviews += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.pauses is not None:
                await self.pauses.wait()
            if not token.startswith("good"):
                raise self.refusal or Unauthenticated("the token is not valid for this audience")
            job = self._assignment.job
            uid, _, namespace = token.partition("@")[2].partition("/")
            resource = self._assignment.resource
            if namespace:
                ref = resource.ref.model_copy(update={"namespace": namespace})
                resource = resource.model_copy(update={"ref": ref})
            changes = {"resource": resource, "job": job.model_copy(update={"uid": uid or job.uid})}
            return self._assignment.model_copy(update=changes)
        finally:
            self.at_once -= 1


class Setting:
    def __init__(self, worker_api: WorkerApi, reviewer: Reviewer, clock: Clock) -> None:
        self.worker_api = worker_api
        self._app = create_app(worker_api)
        self.reviewer = reviewer
        self.clock = clock

    @asynccontextmanager
    async def pod(self, address: str = "10.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self._app, client=(address, 40000))
        async with httpx.AsyncClient(transport=transport, base_url="https://worker-api") as client:
            yield client

    async def say(self, token: str, address: str = "10.0.0.1") -> httpx.Response:
        async with self.pod(address) as client:
            return await client.post("/v1/progress", json=PROGRESS, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
async def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:

    async def nothing(*_: Any) -> Leftovers:
        return Leftovers()

    monkeypatch.setattr(Storage, "exists", in_thread(lambda *_: False))
    monkeypatch.setattr(Storage, "leftovers", nothing)
    world = World(monkeypatch, Writes())
    world.kube.namespaces["another"] = ("another-uid", CREATED)
    world.kube.apply(KIND, SPECS[KIND])
    await world.process._read_and_reconcile(ResourceRef(kind=KIND, namespace="ns", name="it", uid=UID))
    resource = Resource.parse(KIND, world.kube.resources[KIND, "it"])
    assert resource.status.run is not None
    assert resource.status.run.job is not None
    reviewer = Reviewer(Assignment(resource=resource, run=resource.status.run, job=resource.status.run.job))
    database: Any = mongomock.MongoClient(tz_aware=True)["db"]
    ledger = Ledger(database["ledger"])
    door: Any = reviewer
    clock = Clock()

    async def wake(*_: Any) -> None:
        return

    storage = unreached_storage()
    worker_api = WorkerApi(
        authenticator=door,
        storage=storage,
        ledger=ledger,
        verifier=StatusVerifier(
            ledger=ledger,
            records=RecordStore(database["jobs"], storage),
            runs=RunDocuments(database["runs"]),
            tenancy=Tenancy(world.kube, database),
        ),
        reports=Reports(),
        settings=OrderSettings(stage_deadline=timedelta(hours=1)),
        wake=wake,
        clock=clock,
    )
    return Setting(worker_api, reviewer, clock)


# Hostile pods


async def test_a_bad_token_is_reviewed_once_in_a_while(setting: Setting) -> None:
    codes = [(await setting.say("bad")).status_code for _ in range(30)]
    assert (set(codes), setting.reviewer.reviews) == ({401}, 1)
    setting.clock.now += 6
    assert (await setting.say("bad")).status_code == 401
    assert setting.reviewer.reviews == 2, "a token may become valid: the API server learns of it late"


async def test_a_refused_pod_is_looked_up_once_in_a_while(setting: Setting) -> None:
    """A valid token of a pod that is not a worker costs a review, and reads of its pod and Job."""
    setting.reviewer.refusal = NotAWorker("not made by contentgen")
    codes = [(await setting.say("stranger")).status_code for _ in range(30)]
    assert (set(codes), setting.reviewer.reviews) == ({403}, 1)


async def test_reviews_of_endless_bad_tokens_are_bounded(setting: Setting) -> None:
    codes = [(await setting.say(f"bad-{number}")).status_code for number in range(300)]
    assert setting.reviewer.reviews <= 60
    assert codes.count(429) == 300 - setting.reviewer.reviews
    setting.clock.now += 10
    before = setting.reviewer.reviews
    for number in range(300):
        await setting.say(f"worse-{number}")
    assert setting.reviewer.reviews - before <= 10
    answer = await setting.say("another")
    assert (answer.status_code, int(answer.headers["Retry-After"]) >= 1) == (429, True)


async def test_bad_tokens_of_one_pod_keep_no_other_pod_out(setting: Setting) -> None:
    assert (await setting.say("good-before", "10.0.0.1")).status_code == 204
    for number in range(300):
        await setting.say(f"bad-{number}", "10.0.0.1")
    assert (await setting.say("good-elsewhere", "10.0.0.2")).status_code == 204
    assert (await setting.say("good-before", "10.0.0.1")).status_code == 204, "not even one behind the same address"


async def test_reviews_at_a_time_are_bounded(setting: Setting) -> None:
    setting.reviewer.pauses = asyncio.Event()
    asking = [asyncio.create_task(setting.say(f"bad-{n}", f"10.0.{n // 200}.{n % 200}")) for n in range(500)]
    async with asyncio.timeout(60):
        for refused in islice(asyncio.as_completed(asking), 428):
            await refused
    at_once = setting.reviewer.at_once
    setting.reviewer.pauses.set()
    codes = [answer.status_code for answer in await asyncio.gather(*asking)]
    assert (at_once, setting.reviewer.most_at_once) == (8, 8)
    assert (codes.count(401), codes.count(429)) == (72, 428), "8 under way, 64 wait, the others come again"


async def test_a_flood_of_requests_with_one_token_is_limited(setting: Setting) -> None:
    answers = [await setting.say("good") for _ in range(200)]
    codes = [answer.status_code for answer in answers]
    assert codes.count(204) <= 100
    assert set(codes) == {204, 429}
    assert int(answers[-1].headers["Retry-After"]) == 1
    setting.clock.now += 1
    assert (await setting.say("good")).status_code == 204


async def test_reviews_of_a_jobs_tokens_are_bounded(setting: Setting) -> None:
    """A user who may create pods, or tokens bound to one, gets any number of valid tokens of a Job."""
    codes = [(await setting.say(f"good-{number}")).status_code for number in range(300)]
    assert setting.reviewer.reviews <= 100
    assert (set(codes), codes[:10]) == ({204, 429}, 10 * [204])
    assert (await setting.say("good-0")).status_code == 204, "a token that is known goes on"
    assert (await setting.say("good@another", "10.0.0.2")).status_code == 204


async def test_all_tokens_of_a_job_share_its_rate(setting: Setting) -> None:
    codes = [(await setting.say(f"good-{number % 8}")).status_code for number in range(400)]
    assert codes.count(204) <= 150
    assert set(codes) == {204, 429}
    assert (await setting.say("good@another")).status_code == 204
    setting.clock.now += 1
    assert (await setting.say("good-0")).status_code == 204


async def test_signatures_for_one_job_are_limited(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures cost CPU time of the operator, which all namespaces share; a request may ask for 256."""
    monkeypatch.setattr("contentgen_operator.worker_api.server._ASKED_AGAIN", 1e6)
    signed = 0

    def sign(*_: Any) -> str:
        nonlocal signed
        signed += 1
        return "https://s3/"

    monkeypatch.setattr(Storage, "_sign", sign)
    headers = {"Authorization": "Bearer good"}
    file = {"name": "images/0001.jpg", "sizeBytes": 7, "sha256": "ab" * 32, "contentType": "image/jpeg"}
    orders = 0
    async with setting.pod() as client:
        for _ in range(100):
            setting.clock.now += 0.1
            answers = [
                await client.post("/v1/uploads", json={"files": 256 * [file]}, headers=headers),
                await client.get("/v1/order", headers=headers),
            ]
            orders += answers[1].status_code == 200
    assert {answer.status_code for answer in answers} == {429}
    assert int(answers[0].headers["Retry-After"]) <= 60, "no longer than a worker heeds"
    assert signed <= 4096 + 10 * 20 + 22
    assert 20 <= orders <= 22
    setting.clock.now += 60
    async with setting.pod() as client:
        assert (await client.get("/v1/order", headers=headers)).status_code == 200
        assert (await client.post("/v1/uploads", json={"files": 256 * [file]}, headers=headers)).status_code == 200


def offers(count: int) -> dict[str, Any]:
    file = {"name": "images/0001.jpg", "sizeBytes": 7, "sha256": "ab" * 32, "contentType": "image/jpeg"}
    return {"files": count * [file]}


async def upload(client: httpx.AsyncClient, token: str, count: int = 256) -> httpx.Response:
    return await client.post("/v1/uploads", json=offers(count), headers={"Authorization": f"Bearer {token}"})


def limited(setting: Setting, monkeypatch: pytest.MonkeyPatch, what: str, job: RateLimit, **namespace: float) -> None:
    """Smaller limit for namespaces, because requests take time."""
    rates = _Rates(job, RateLimit.model_validate(namespace), setting.clock)
    monkeypatch.setattr(setting.worker_api, f"_{what}_rates", rates)


async def test_signatures_for_all_jobs_of_a_namespace_are_limited(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each Job has its own limit, but a namespace can have any number of Jobs."""
    limited(setting, monkeypatch, "file", RateLimit(burst=16, per_second=0), burst=32, per_second=4)
    async with setting.pod() as client:
        codes = [(await upload(client, f"good@{job}", 8)).status_code for job in range(3) for _ in range(2)]
        assert codes == 4 * [200] + 2 * [429]
        refused = [await upload(client, "good@late", 8) for _ in range(20)]
        assert {(each.status_code, each.headers["Retry-After"]) for each in refused} == {(429, "2")}
        assert (await upload(client, "good@9/another", 8)).status_code == 200
        setting.clock.now += 60
        codes = [(await upload(client, "good@late", 8)).status_code for _ in range(2)]
        assert codes == [200, 200], "what the namespace was refused is not charged to the Job"


@pytest.mark.parametrize(("what", "path"), [("order", "/v1/order"), ("request", "/v1/progress")])
async def test_requests_of_all_jobs_of_a_namespace_are_limited(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, what: str, path: str
) -> None:
    limited(setting, monkeypatch, what, RateLimit(burst=2, per_second=1), burst=3, per_second=1)

    async def ask(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        async with setting.pod() as client:
            if path == "/v1/order":
                return (await client.get(path, headers=headers)).status_code
            return (await client.post(path, headers=headers, json=PROGRESS)).status_code

    codes = [await ask(f"good@{job}") for job in range(5)]
    assert ["429" if code == 429 else "let in" for code in codes] == ["let in"] * 3 + ["429"] * 2
    assert await ask("good@9/another") in (200, 204)
    setting.clock.now += 1
    assert await ask("good@4") in (200, 204)


async def test_signatures_are_calculated_in_a_thread(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature takes 0.7 ms of CPU time, which would block the event loop."""
    threads: list[threading.Thread] = []

    def sign(*_: Any) -> str:
        threads.append(threading.current_thread())
        return "https://s3/"

    monkeypatch.setattr(Storage, "_sign", sign)
    async with setting.pod() as client:
        assert (await upload(client, "good", 40)).status_code == 200
        assert (await client.get("/v1/order", headers={"Authorization": "Bearer good"})).status_code == 200
    assert len(threads) > 40
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("what", ["order", "upload"])
async def test_namespaces_take_turns_at_being_signed_for(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    signed: list[str] = []
    asked, begun, goes_on = asyncio.Event(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def sign(_: Storage, _client: object, _method: str, params: dict[str, Any], *_args: Any) -> str:
        loop.call_soon_threadsafe(begun.set)
        goes_on.wait(60)
        signed.append(params["Key"])
        return "https://s3/"

    async def leftovers(_: Storage, _owner: object, prefix: str, *_args: object) -> Leftovers:
        if "another" in prefix:
            asked.set()
        return Leftovers()

    async def get(_: Ledger, key: PurchaseKey) -> None:
        if key.namespace == "another":
            asked.set()

    monkeypatch.setattr(Storage, "_sign", sign)
    monkeypatch.setattr(Storage, "leftovers", leftovers)
    monkeypatch.setattr(Ledger, "get", get)
    async with setting.pod() as client:
        crowd = [asyncio.create_task(upload(client, f"good@{job}", 64)) for job in range(3)]
        await begun.wait()
        headers = {"Authorization": "Bearer good@9/another"}
        order = client.get("/v1/order", headers=headers)
        other = asyncio.create_task(upload(client, "good@9/another", 1) if what == "upload" else order)
        if what == "upload":
            order.close()
        await asked.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        goes_on.set()
        answers = await asyncio.gather(other, *crowd)
    assert {answer.status_code for answer in answers} == {200}
    first = next(index for index, key in enumerate(signed) if not key.startswith("datasets/ns/"))
    assert first <= 2 * 16, "of 192"


async def test_files_of_an_earlier_attempt_use_the_namespaces_share(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[object] = []

    async def leftovers(*args: Any) -> Leftovers:
        shares.append(args[4])
        return Leftovers()

    monkeypatch.setattr(Storage, "leftovers", leftovers)
    async with setting.pod() as client:
        assert (await upload(client, "good@9/another", 1)).status_code == 200
    assert shares == ["another"]


async def test_few_upload_requests_of_a_job_wait_at_a_time(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upload requests of a job are processed one after another, and each waiting one keeps its offers in memory."""
    goes_on = asyncio.Event()

    async def slowly(*_: Any) -> Leftovers:
        await goes_on.wait()
        return Leftovers()

    monkeypatch.setattr(Storage, "leftovers", slowly)

    async def ask(token: str) -> httpx.Response:
        async with setting.pod() as client:
            return await upload(client, token, 1)

    asking = [asyncio.create_task(ask("good")) for _ in range(30)]
    asking.append(asyncio.create_task(ask("good@another")))
    async with asyncio.timeout(60):
        for refused in islice(asyncio.as_completed(asking), 26):
            await refused
    goes_on.set()
    answers = await asyncio.gather(*asking)
    codes = [answer.status_code for answer in answers]
    assert (codes.count(200), codes.count(429), codes[-1]) == (5, 26, 200)
    assert {answer.headers["Retry-After"] for answer in answers if answer.status_code == 429} == {"1"}
    assert (await ask("good")).status_code == 200


async def test_a_flood_without_tokens_is_limited(setting: Setting) -> None:
    async with setting.pod() as client:
        codes = [(await client.get("/v1/order")).status_code for _ in range(200)]
    assert set(codes) == {401, 429}
    assert setting.reviewer.reviews == 0


# Regular workers


async def test_an_honest_worker_at_full_speed_is_never_limited(setting: Setting) -> None:
    """One order; progress once a second; then 4,096 files, all stored already: 16 requests at once."""
    headers = {"Authorization": "Bearer good"}
    files = [{"name": "images/0001.jpg", "sizeBytes": 7, "sha256": "ab" * 32, "contentType": "image/jpeg"}]
    async with setting.pod() as client:
        codes = [(await client.get("/v1/order", headers=headers)).status_code]
        for _ in range(150):
            setting.clock.now += 1
            codes.append((await client.post("/v1/progress", json=PROGRESS, headers=headers)).status_code)
        for _ in range(2 * 16):  # and once more, with grants for those that expired
            answer = await client.post("/v1/uploads", json={"files": files}, headers=headers)
            codes.append(answer.status_code)
        codes.append((await client.post("/v1/outcome", headers=headers)).status_code)
    assert set(codes) == {200, 204}


async def test_fifty_workers_of_a_namespace_at_once_are_never_limited(setting: Setting) -> None:
    """Each worker requests an order, an outcome and a dataset of 150 images at once, then progress once a second."""
    worker_api = setting.worker_api
    jobs = [await setting.reviewer.assignment(f"good@{job}") for job in range(50)]
    for job in jobs:
        worker_api._order_rates.take(job)
        for files in (256, 2 * 150 + 3 - 256):
            worker_api._request_rates.take(job)
            worker_api._file_rates.take(job, files)
        for _ in range(2):
            worker_api._request_rates.take(job)
    for _ in range(600):
        setting.clock.now += 1
        for job in jobs:
            worker_api._request_rates.take(job)


async def test_fifty_workers_with_large_datasets_are_limited(setting: Setting) -> None:
    """The limit delays the last batch by less than the ten minutes for which a worker retries."""
    jobs = [await setting.reviewer.assignment(f"good@{job}") for job in range(50)]
    batches = [(job, min(256, 2003 - start)) for job in jobs for start in range(0, 2003, 256)]
    begun = setting.clock.now
    for job, files in batches:
        try:
            setting.worker_api._file_rates.take(job, files)
        except TooManyRequests as error:
            setting.clock.now += error.retry_after
            setting.worker_api._file_rates.take(job, files)
    assert 60 < setting.clock.now - begun < 300


async def test_a_namespace_has_less_than_all_its_jobs(setting: Setting) -> None:
    """The namespace's limit is below the sum of its Jobs' limits."""
    jobs = [await setting.reviewer.assignment(f"good@{number}") for number in range(9)]
    for number in range(128):
        setting.worker_api._file_rates.take(jobs[number // 16], 256)
    with pytest.raises(TooManyRequests):
        setting.worker_api._file_rates.take(jobs[8], 256)


async def test_many_workers_behind_one_address_are_never_limited(setting: Setting) -> None:
    """Network address translation gives workers one address; successful reviews are not charged."""
    for number in range(150):
        assert (await setting.say(f"good@{number}")).status_code == 204
        assert (await setting.say(f"good@{number}")).status_code == 204


async def test_a_worker_whose_status_is_not_written_yet_is_no_stranger(setting: Setting) -> None:
    setting.reviewer.refusal = NotYetRecorded("the resource records no Job yet")
    codes = [(await setting.say("early")).status_code for _ in range(30)]
    assert set(codes) == {425}
    assert setting.reviewer.reviews == 30, "the answer may be another one each time"


# Rate limiter components


def test_a_limit_refills_and_forgets_the_oldest() -> None:
    clock = Clock()
    limiter = TokenBuckets(RateLimit(burst=2, per_second=0.5), clock, most=3)
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 2]
    clock.now += 1
    assert limiter.take("a") == 1
    clock.now += 1
    assert limiter.take("a") == 0
    limiter.give_back("a")
    limiter.give_back("unknown")
    assert limiter.take("a") == 0
    clock.now += 1000
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 2], "no more than the burst"
    for key in ("b", "c", "d"):
        limiter.take(key)
    assert len(limiter) == 3
    assert limiter.take("a") == 0, "forgotten, and so full again"


async def test_remembered_tokens_are_bounded() -> None:
    clock = Clock()
    admission = Admission(clock, (ValueError,), remembered=10)

    uids = map(str, count())

    async def refuse(_: str) -> None:
        raise ValueError("no")

    async def accept(_: str) -> int:
        return 1

    for number in range(100):
        with pytest.raises(ValueError, match="no"):
            await admission.admit(f"bad-{number}", f"10.0.0.{number}", refuse, str)
        assert await admission.admit(f"good-{number}", "10.0.1.1", accept, lambda _: next(uids)) == 1
    assert len(admission) <= 20


async def test_an_api_server_that_is_away_blames_nobody() -> None:
    admission = Admission(Clock(), (ValueError,))

    async def away(_: str) -> None:
        raise TimeoutError

    for _ in range(500):
        with pytest.raises(TimeoutError):
            await admission.admit("token", "10.0.0.1", away, str)


async def test_a_caller_that_goes_away_frees_its_place() -> None:
    admission = Admission(Clock(), (ValueError,))
    never = asyncio.Event()

    async def hang(_: str) -> None:
        await never.wait()

    hanging = [asyncio.create_task(admission.admit(f"t{n}", f"10.0.0.{n}", hang, str)) for n in range(72)]
    for _ in range(100):
        await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await admission.admit("one more", "10.0.1.1", hang, str)
    for each in hanging:
        each.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)

    async def accept(_: str) -> int:
        return 1

    assert await admission.admit("one more", "10.0.1.1", accept, str) == 1
