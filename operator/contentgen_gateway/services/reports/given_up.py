"""Given-up work: failed runs that a person can retry, with their remedies.

The records say which runs have failed; what applies now is decided by the present status of the resource. The label on
it is not read, because anybody may have changed it.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from contentgen_contract.advice import given_up, guidance
from contentgen_contract.advice.guidance import Facts
from contentgen_contract.advice.job_state import state_of_resource
from contentgen_contract.advice.remedies import Remedy
from contentgen_contract.resources.parsing import ResourceBody
from contentgen_contract.worker.log import redact_secrets
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.visibility import KINDS, Visibility
from contentgen_gateway.schemas.reports.given_up import GivenUp, GivenUpList, GivenUpListing, RetryOption
from contentgen_gateway.services.jobs import JobReader
from contentgen_gateway.services.viewed_states import ViewedStates
from contentgen_gateway.stores import aggregations
from contentgen_gateway.stores.records import Record
from contentgen_runtime.kube import Body

_AT_A_TIME = 8  # requests to the API server


@dataclass(frozen=True, slots=True)
class GivenUpReader:
    """Given-up work in the namespaces that a caller may list."""

    visibility: Visibility
    jobs: JobReader
    states: ViewedStates

    async def list_given_up(self, caller: Caller, given: GivenUpListing) -> GivenUpList:
        """Page of given-up work. Raises BadRequest."""
        scope = aggregations.without_shared(await self.visibility.scope(caller, given.namespace, None))
        page = await self.jobs.page(scope, given.job_filter())
        turns = asyncio.Semaphore(_AT_A_TIME)

        async def entry(record: Record) -> GivenUp | None:
            async with turns:
                body = await self.states.resources.current(record)
                found = given_up_of(record, body)
                if found is None:
                    return None
                now = await self.states.of_job(caller, record, body)
                return found.model_copy(update={"actions": [action.does for action in now.actions]})

        found = await asyncio.gather(*map(entry, page.records))
        return GivenUpList(
            given_up=[each_record for each_record in found if each_record is not None], next_cursor=page.next_cursor
        )


def given_up_of(record: Record, body: Body | None) -> GivenUp | None:
    """Entry of a job by its present resource; None if that is or will be gone, goes on, or cannot be
    read.
    """
    if body is None:
        return None
    try:
        return _given_up(record, ResourceBody.parse(body)) if state_of_resource(body).ended else None
    except (ValidationError, ValueError, TypeError, AttributeError):  # somebody else wrote the status
        return None


def _given_up(record: Record, given: ResourceBody) -> GivenUp | None:
    facts, kind = Facts.parse(given.status), KINDS[str(record["type"])]
    if not given_up.is_given_up(facts):
        return None
    namespace, name = str(record["namespace"]), str(record["name"])
    options = [
        _option(remedy, f"{kind.short_name}/{name}", namespace) for remedy in guidance.applicable_remedies(facts)
    ]
    cost: dict[str, Any] = given.status.get("cost") or {}
    return GivenUp(
        job_id=str(record["jobId"]),
        namespace=namespace,
        type=kind.record_type,
        kind=kind,
        name=name,
        user_id=str(record.get("userId") or namespace),
        reason=given.reason or "",
        message=redact_secrets(given.message),
        paid=guidance.payment_state(facts).value,
        result_kept=guidance.has_result(facts),
        cost=cost.get("display") or None,
        request_id=facts.request_id,
        failed_at=given.status.get("completionTime"),
        remedies=options,
    )


def _option(remedy: Remedy, reference: str, namespace: str) -> RetryOption:
    return RetryOption(
        action=remedy.action,
        text=remedy.sentence.replace("NAME", reference),
        costs=remedy.costs.value,
        command=given_up.retry_command(remedy.action, reference, namespace),
    )
