"""The OpenAPI document is kept: schemathesis makes requests of it, good and bad ones, and compares the answers.

`make test-api` makes 10,000 of them; here it is a sample. The app runs in this process, over tenants' stores.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS

from contentgen_simulation.gateway.endpoints import MAIN_FILES, GatewayEndpoint, endpoints, suits
from contentgen_simulation.gateway.tenants import TenantWorld

CASES = 10_000 if os.environ.get("CONTENTGEN_API") == "all" else 120
MORE = 1.3  # some operations have fewer cases than their share
REPORT = Path(__file__).resolve().parents[4] / "build/test/schemathesis.json"
PATIENCE = 300  # seconds: how fast it is, is no matter here
A_WORLD = 100  # requests until everything is as it was: some of them delete
NOT_CHECKED = (
    # The schema says what a cursor or an address looks like, and not which are ours.
    "positive_data_acceptance",
)


class Current:
    """The app of a world that is new now and then."""

    def __init__(self) -> None:
        self.asked = 0
        self.world = TenantWorld()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if self.asked and self.asked % A_WORLD == 0:
                self.world = TenantWorld()
            self.asked += 1
        await self.world.app(scope, receive, send)


CURRENT = Current()
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", CURRENT)
# The lists refuse a parameter that nobody knows, which the document has no word for; the others let it be.
SCHEMA.config.generation.allow_extra_parameters = False
OPERATIONS = {each_operation.ok().label: each_operation.ok() for each_operation in SCHEMA.get_all_operations()}
ENDPOINTS = {str(each_endpoint).replace(":path}", "}"): each_endpoint for each_endpoint in endpoints(CURRENT.world.app)}
ASKED = [
    (label, mode)
    for label, each_operation in OPERATIONS.items()
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or {"parameters", "requestBody"} & each_operation.definition.raw.keys()
]
answers: Counter[int] = Counter()
ran: set[tuple[str, GenerationMode]] = set()


@pytest.fixture(scope="module", autouse=True)
def _enough_is_asked_and_answered() -> Iterator[None]:
    """The control, where all of it ran: so many cases, and a share of them is let through."""
    yield
    if ran == set(ASKED):
        every, good = sum(answers.values()), sum(number for status, number in answers.items() if status < 300)
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        counts = {str(status): answers[status] for status in sorted(answers)}
        REPORT.write_text(json.dumps({"cases": every, "successes": good, "answers": counts}, indent=2) + "\n")
        assert every >= CASES, answers
        assert good >= 0.3 * every, f"too few come through to say anything: {answers}"


@pytest.mark.parametrize(("label", "mode"), ASKED, ids=[f"{label} {mode.value}" for label, mode in ASKED])
def test_the_document_is_kept(label: str, mode: GenerationMode) -> None:
    operation, numbers = OPERATIONS[label], count()
    share, least = (0.8, 2) if mode is GenerationMode.POSITIVE else (0.2, 1)
    ran.add((label, mode))
    checks = CHECKS.get_by_names([name for name in CHECKS.get_all_names() if name not in NOT_CHECKED])

    @settings(
        max_examples=max(least, int(MORE * CASES * share / len(OPERATIONS))),
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Case) -> None:
        number = next(numbers)
        if mode is GenerationMode.POSITIVE and number % 5 != 4:
            meant(case, ENDPOINTS[label], number)
        answer = case.call(headers={"Authorization": "Bearer ann"}, timeout=PATIENCE)
        answers[answer.status_code] += 1
        case.validate_response(answer, checks=checks)

    one()


def meant(case: Case, endpoint: GatewayEndpoint, number: int) -> None:
    """Names what is there: an id that is made up leads nowhere but to 404."""
    jobs = [job for job in CURRENT.world.jobs if job.namespace == "red" and suits(endpoint, job)]
    job = jobs[number % len(jobs)]
    for name, value in (("job_id", job.job_id), ("file", MAIN_FILES[job.kind])):
        if name in (case.path_parameters or {}):
            case.path_parameters[name] = value
    for given_ in (case.query, case.body):
        if isinstance(given_, dict):
            given_.pop("cursor", None)
            if "namespace" in given_:
                given_["namespace"] = "red"
