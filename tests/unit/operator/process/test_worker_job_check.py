"""GET /worker-job of the operator's health port: what `helm test` learns from a dry run by the operator's account."""

import json
from typing import Any

import aiohttp
import httpx
import pytest
from fastapi import FastAPI
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import UID_LABEL
from contentgen_contract.resources.namespaces import LabelSelector
from contentgen_operator.telemetry.worker_job_check import WorkerJobCheck, add_worker_job, namespace_for_the_check
from contentgen_runtime.namespaces import Namespaces
from contentgen_simulation.world import TEMPLATE

Body = dict[str, Any]


class Admission:
    """API server's decision about dry runs of Jobs."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.checked: list[tuple[str, Body]] = []

    async def check_job(self, namespace: str, manifest: Body) -> None:
        self.checked.append((namespace, manifest))
        if self.error is not None:
            raise self.error


def refused(status: int, message: str) -> ApiException:
    error = ApiException(status=status, reason="refused")
    error.body = json.dumps({"message": message})
    return error


async def asked(check: WorkerJobCheck) -> Body:
    app = add_worker_job(FastAPI(), check)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://operator") as asking:
        found: Body = (await asking.get("/worker-job")).json()
    return found


def check_of(admission: Admission, namespace: str = "marketing") -> WorkerJobCheck:
    return WorkerJobCheck(admission, lambda: namespace, lambda: TEMPLATE)


async def test_job_has_the_operators_form() -> None:
    admission = Admission()
    answer = await asked(check_of(admission))
    assert answer == {"namespace": "marketing", "refusal": "", "unknown": ""}
    ((namespace, job),) = admission.checked
    assert (namespace, job["metadata"]["namespace"]) == ("marketing", "marketing")
    (owner,) = job["metadata"]["ownerReferences"]
    assert job["metadata"]["labels"][UID_LABEL] == owner["uid"]
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == TEMPLATE.image


@pytest.mark.parametrize(
    ("error", "refusal", "unknown"),
    [
        (refused(403, "metadata.annotations: expected {}"), "metadata.annotations: expected {}", ""),
        (refused(500, "failed calling webhook"), "failed calling webhook", ""),
        (refused(400, "admission webhook \"w\" does not support dry run"), "", "does not support dry run"),
        (refused(404, 'namespaces "marketing" not found'), "", "404 namespaces"),
        (refused(429, "slow down"), "", "429 slow down"),
        (aiohttp.ClientConnectionError("no route"), "", "no route"),
        (TimeoutError(), "", "TimeoutError"),
    ],
)  # fmt: skip
async def test_refusals_differ_from_what_is_unknown(error: Exception, refusal: str, unknown: str) -> None:
    answer = await asked(check_of(Admission(error)))
    assert refusal in answer["refusal"]
    assert unknown in answer["unknown"]
    assert bool(answer["refusal"]) is bool(refusal)
    assert bool(answer["unknown"]) is bool(unknown)


async def test_answer_is_kept_for_a_while() -> None:
    """Whoever reaches the port cannot make the operator send many requests."""
    admission, now = Admission(), [0.0]
    check = WorkerJobCheck(admission, lambda: "marketing", lambda: TEMPLATE, clock=lambda: now[0])
    for _ in range(9):
        await check.answer()
    assert len(admission.checked) == 1
    now[0] = 16.0
    admission.error = refused(403, "no")
    assert (await check.answer())["refusal"] == "403 no"
    assert len(admission.checked) == 2


async def test_slow_answer_is_kept_from_its_end() -> None:
    times = [100.0, 101.0]  # after a dry run of 100 s, and of the next request
    admission = Admission()
    check = WorkerJobCheck(admission, lambda: "marketing", lambda: TEMPLATE, clock=lambda: times.pop(0))
    await check.answer()
    await check.answer()
    assert (len(admission.checked), times) == (1, [])


async def test_without_a_namespace_of_users_nothing_is_asked() -> None:
    admission = Admission()
    assert (await asked(check_of(admission, "")))["unknown"] == "no namespace of users is known"
    assert admission.checked == []


def test_namespace_is_one_in_which_jobs_may_be_created() -> None:
    labelled = Namespaces(selector=LabelSelector(match_labels={"team": "a"}))
    assert namespace_for_the_check(Namespaces(["research", "marketing"]), "contentgen") == "research"
    assert namespace_for_the_check(Namespaces(), "contentgen") == "default"
    assert namespace_for_the_check(labelled, "contentgen") == "default"
    assert namespace_for_the_check(Namespaces(), "default") == ""
    assert namespace_for_the_check(Namespaces(["default"]), "default") == "default"
