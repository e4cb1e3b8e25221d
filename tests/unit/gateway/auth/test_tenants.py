"""Requests for another tenant's objects are refused: each endpoint, caller and id, with the owner's request as control.

The matrix is generated from the app's routes, so that it includes every new endpoint. If the owner's request fails
because it needs a body, the assertion asks for an `EndpointCase` in contentgen_simulation/gateway/endpoints.py.

`make test-api` asks for all jobs and filters (CONTENTGEN_API=all). Otherwise the jobs are those whose user has the name
of a caller without rights, as a check of names instead of rights would pass them, and each filter has one caller.
"""

import itertools
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import httpx
import pytest

from contentgen_contract.names import Kind
from contentgen_simulation.gateway.endpoints import (
    CASES,
    OPEN,
    EndpointCase,
    GatewayEndpoint,
    case_of,
    endpoints,
    suits,
)
from contentgen_simulation.gateway.tenants import CALLERS, MISSING, OWNERS, PlantedJobs, Recreated, TenantWorld

ALL = os.environ.get("CONTENTGEN_API") == "all"
LEAST = 500  # cases: an endpoint, a caller and an id
REPORT = Path(__file__).resolve().parents[4] / "build/test/tenants.json"
WORDS = (*OWNERS, *OWNERS.values(), "common")  # parameter values that refer to another tenant


@cache
def everything() -> tuple[GatewayEndpoint, ...]:
    return endpoints(TenantWorld().app)


GUARDED = [resource for resource in everything() if resource.signed_in]
NAMING = [path for path in GUARDED if path.ids]
counted: dict[str, dict[str, int]] = {}
"""Cases by endpoint, and successful requests of the owners."""


@pytest.fixture(scope="module", autouse=True)
def _every_case_is_counted() -> Iterator[None]:
    """Minimum size of the matrix, if all of it ran."""
    yield
    if len(counted) == len(NAMING):
        sums = {name: sum(each[name] for each in counted.values()) for name in ("cases", "controls")}
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(json.dumps(sums | {"foreignReads": 0, "endpoints": counted}, indent=2) + "\n")
        assert sums["cases"] >= LEAST, sums


async def ask(
    world: TenantWorld, caller: str | None, endpoint: GatewayEndpoint, identity: str, job: PlantedJobs, **query: str
) -> httpx.Response:
    """Judged response to one request."""
    case = case_of(endpoint)
    async with world.client(caller) as client:
        answer = await client.request(
            endpoint.method,
            endpoint.at(identity, job),
            params=dict(case.query) | query,
            json=case.body(job) if case.body else None,
            data=case.form(job) if case.form else None,
        )
    world.judge(caller, answer)
    return answer


def planted(world: TenantWorld, endpoint: GatewayEndpoint) -> list[PlantedJobs]:
    """Jobs to ask an endpoint for."""
    return [job for job in world.jobs if suits(endpoint, job) and (ALL or job.user != job.owner)]


async def missing_for(
    world: TenantWorld, endpoint: GatewayEndpoint, known: dict[tuple[str | None, str, str], httpx.Response],
    caller: str | None, job: PlantedJobs,
) -> httpx.Response:  # fmt: skip
    """Response to the same request for an id that does not exist; asked once."""
    case = case_of(endpoint)
    request = (
        caller,
        endpoint.at(MISSING, job),
        repr((case.body(job) if case.body else None, case.form(job) if case.form else None)),
    )
    if request not in known:
        known[request] = await ask(world, caller, endpoint, MISSING, job)
    return known[request]


async def named(world: TenantWorld, endpoint: GatewayEndpoint, case: EndpointCase, job: PlantedJobs) -> str:
    """Id in the path."""
    if case.named is None:
        return job.job_id
    async with world.client(job.owner) as owner:
        return await case.named(owner, job)


def test_each_endpoint_asks_who_calls() -> None:
    """Public endpoints are the exception."""
    assert {resource.path for resource in everything() if not resource.signed_in} <= OPEN


def test_each_case_has_its_endpoint() -> None:
    assert CASES.keys() <= {str(resource) for resource in everything()}


@pytest.mark.parametrize("endpoint", NAMING, ids=str)
async def test_a_foreign_id_is_as_good_as_a_missing_one(endpoint: GatewayEndpoint) -> None:
    world, case, known = TenantWorld(), case_of(endpoint), dict[tuple[str | None, str, str], httpx.Response]()
    jobs = planted(world, endpoint)
    cases, ids = 0, {job: await named(world, endpoint, case, job) for job in jobs}
    world.accept()
    for job, caller in itertools.product(jobs, CALLERS):
        if world.may(caller, job, "get", "list"):
            continue
        foreign = await ask(world, caller, endpoint, ids[job], job)
        missing = await missing_for(world, endpoint, known, caller, job)
        assert foreign.status_code == (404 if caller else 401), f"{caller}: {endpoint} of {job}: {foreign.text}"
        assert foreign.status_code == missing.status_code
        assert foreign.text.replace(ids[job], "X") == missing.text.replace(MISSING, "X")
        cases += caller is not None  # an unauthenticated caller is no tenant
    for job in jobs:
        mine = await ask(world, job.owner, endpoint, ids[job], job)
        assert mine.status_code in case.success, f"{endpoint} needs a case in endpoints.py: {mine.text[:500]}"
    counted[str(endpoint)] = {"cases": cases, "controls": len(jobs)}


@pytest.mark.parametrize("endpoint", [each for each in NAMING if each.method != "GET"], ids=str)
async def test_viewer_changes_nothing(endpoint: GatewayEndpoint) -> None:
    """The judge checks for changes; the response must not report one either."""
    world, case = TenantWorld(), case_of(endpoint)
    if case.named is not None:
        return
    for job in world.jobs:
        if job.namespace == "red" and suits(endpoint, job):
            answer = await ask(world, "vera", endpoint, job.job_id, job)
            assert answer.status_code in (403, 404), f"vera: {endpoint}: {answer.text}"


@pytest.mark.parametrize("endpoint", [path for path in GUARDED if not path.ids and path.method == "GET"], ids=str)
async def test_a_list_shows_nobody_what_is_foreign(endpoint: GatewayEndpoint) -> None:
    """Lists are requested with each filter; the owner's own list has more entries than a stranger's."""
    world, case = TenantWorld(), case_of(endpoint)
    given: dict[str | None, str] = {}
    for caller in CALLERS:
        answer = await ask(world, caller, endpoint, "", world.jobs[0])
        given[caller] = answer.text
        assert (answer.status_code == 401) == (caller is None)
    for caller, (name, value) in narrowed(endpoint, "ann", "carol", "dave"):
        await ask(world, caller, endpoint, "", world.jobs[0], **{name: value})
    for job in (world.jobs[0], world.jobs[-1]):
        mine = await ask(world, job.owner, endpoint, "", job)
        assert mine.status_code in case.success, f"{endpoint} needs a case in endpoints.py: {mine.text[:500]}"
        if mine.status_code == 403:  # for the platform only
            continue
        assert mine.text != given["dave"], f"{endpoint} shows its owner no more than somebody else"


def narrowed(endpoint: GatewayEndpoint, *callers: str) -> list[tuple[str, tuple[str, str]]]:
    """Callers with parameters and values that could lead to another tenant's data."""
    filters = list(itertools.product(endpoint.query, WORDS))
    return list(itertools.product(callers, filters) if ALL else zip(itertools.cycle(callers), filters, strict=False))


@pytest.mark.parametrize("endpoint", [path for path in GUARDED if not path.ids and path.method != "GET"], ids=str)
async def test_creation_needs_the_callers_right(endpoint: GatewayEndpoint) -> None:
    world, case = TenantWorld(), case_of(endpoint)
    for caller, job in itertools.product(CALLERS, world.jobs):
        if caller not in (job.owner, "root"):
            for query in ({}, {"namespace": job.namespace}) if "namespace" in endpoint.query else ({},):
                answer = await ask(world, caller, endpoint, "", job, **query)
                assert (answer.status_code == 401) == (caller is None)
    for job in world.jobs[:: len(Kind)]:
        mine = await ask(world, job.owner, endpoint, "", job)
        assert mine.status_code in case.success, f"{endpoint} needs a case in endpoints.py: {mine.text[:500]}"


async def test_the_judge_sees_what_is_foreign() -> None:
    """Control: the judge detects each way to reach another tenant's data."""
    for reach in (_read, _write, _fetch, _change):
        world = TenantWorld()
        async with world.client("bob") as bob:
            answer = await bob.get("/api/jobs")
        world.judge("bob", answer)
        with pytest.raises(AssertionError, match=r"it shows|changed|reached|delete"):
            world.judge("bob", reach(world, answer))


def _read(world: TenantWorld, answer: httpx.Response) -> httpx.Response:
    return httpx.Response(200, text=world.jobs[0].canary, request=answer.request)


def _write(world: TenantWorld, answer: httpx.Response) -> httpx.Response:
    world.database["jobs"].update_one({"jobId": world.jobs[0].job_id}, {"$set": {"status": "failed"}})
    return answer


def _fetch(world: TenantWorld, answer: httpx.Response) -> httpx.Response:
    world.dependencies.files.url(world.jobs[0].prefixes[0] + "model.safetensors")
    return answer


def _change(world: TenantWorld, answer: httpx.Response) -> httpx.Response:
    world.api.changed.append(("DELETE", Kind.LORA_TRAINING.plural, "red"))
    return answer


# A namespace that was created again

USERS = ("ann", "carol", "vera")
"""Tenant of the namespace, unchanged."""


@pytest.mark.parametrize("endpoint", NAMING, ids=str)
async def test_id_of_an_earlier_namespace_acts_like_a_missing_one(endpoint: GatewayEndpoint) -> None:
    world, case, known = Recreated(), case_of(endpoint), dict[tuple[str | None, str, str], httpx.Response]()
    jobs = [job for job in planted(world, endpoint) if job.namespace == "red"]
    ids = {job: await named(world, endpoint, case, job) for job in jobs}
    await world.recreate()
    for job, caller in itertools.product(jobs, USERS):
        foreign = await ask(world, caller, endpoint, ids[job], job)
        missing = await missing_for(world, endpoint, known, caller, job)
        assert foreign.status_code == missing.status_code == 404, f"{caller}: {endpoint} of {job}: {foreign.text}"
        assert foreign.text.replace(ids[job], "X") == missing.text.replace(MISSING, "X")


@pytest.mark.parametrize("endpoint", [path for path in GUARDED if not path.ids and path.method == "GET"], ids=str)
async def test_a_list_shows_nothing_of_the_earlier_namespace(endpoint: GatewayEndpoint) -> None:
    world = Recreated()
    before = await ask(world, "ann", endpoint, "", world.jobs[0])
    await world.recreate()
    after = await ask(world, "ann", endpoint, "", world.jobs[0])
    if before.status_code != 403:  # for the platform only
        assert after.text != before.text, f"{endpoint} shows what it showed before"
    for caller, (name, value) in narrowed(endpoint, *USERS):
        await ask(world, caller, endpoint, "", world.jobs[0], **{name: value})


@pytest.mark.parametrize("endpoint", [path for path in GUARDED if not path.ids and path.method != "GET"], ids=str)
async def test_new_job_reaches_nothing_of_the_earlier_namespace(endpoint: GatewayEndpoint) -> None:
    world = Recreated()
    await world.recreate()
    for job, caller in itertools.product([each_job for each_job in world.jobs if each_job.namespace == "red"], USERS):
        await ask(world, caller, endpoint, "", job)
