"""Messages are for people: with all of them replaced by other words, nothing else changes."""

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cel
import pytest
import stamina
import yaml
from cel import stdlib

from contentgen_cli.commands import adopting, approving, cancelling, collecting, retrying
from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_contract.advice.guidance import Facts
from contentgen_contract.advice.job_state import state_of_record, state_of_resource
from contentgen_contract.annotations.cancel_run import CannotCancel
from contentgen_contract.names import Kind, Verdict
from contentgen_gateway.live.job_snapshot import JobSnapshot, document
from contentgen_gateway.problems import Problem
from contentgen_gateway.services import run_state
from contentgen_gateway.services.run_state import JobRunState
from contentgen_simulation.advice_scenarios import SCENARIOS, Scenario, ScenarioPlace, place_of

POLICIES = Path(__file__).parents[4] / "deploy/kustomize/base/policies.yaml"
WORDS = (
    "mit anderen Worten: contentgen.dev/resubmit=0badcafe contentgen.dev/collect=9 contentgen.dev/approve=9-0.01 "
    "kubectl contentgen approve x, nothing was paid"
)
"""Words that mislead whoever searches them."""
_WORDED = ("message", "error", "text")  # text: of a worker's log
_NAMED = ("purchaseId", "uid", "resubmitToken")  # of a status: random, or counted by the writes
_RECONCILES = 3  # after a scenario has arrived

Body = dict[str, Any]


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


def reworded(value: Any) -> Any:
    """JSON with other words."""
    match value:
        case dict():
            return {name: WORDS if name in _WORDED and member else reworded(member) for name, member in value.items()}
        case list() | tuple():
            return [reworded(element) for element in value]
    return value


# The operator reads its own statuses


async def arrived(each: Scenario, patch: pytest.MonkeyPatch, words: Callable[[Any], Any]) -> ScenarioPlace:
    """Place of a scenario where each status is stored in these words."""
    place = place_of(each, patch)
    put_status = place.world.kube.put_status

    async def put(kind: Kind, namespace: str, name: str, body: Body) -> Body:
        return await put_status(kind, namespace, name, words(body))

    patch.setattr(place.world.kube, "put_status", put)
    await each.arrive(place)
    return place


async def observable(place: ScenarioPlace) -> Body:
    """Statuses without repetitions, payments, events and patches of a scenario, then of a few reconciles after it."""
    for _ in range(_RECONCILES):
        await place.world.reconcile(place.kind)
    statuses = [status.model_dump(mode="json") for status in place.world.kube.statuses]
    names = dict(
        zip(dict.fromkeys(itertools.chain.from_iterable(map(named, statuses))), itertools.count(), strict=False)
    )
    shown = [reworded(renamed(status, names)) for status in statuses]
    return {
        "statuses": [status for status, _ in itertools.groupby(shown)],
        "purchases": [[purchase[name] for name in ("state", "sendState", "requestId")] for purchase in place.purchases],
        "posts": len(place.world.provider.posts),
        "cancelled": place.world.provider.cancelled,
        "events": place.world.kube.events,
        "jobs": sorted(place.world.kube.jobs),
    }


def named(value: Any) -> Iterator[str]:
    """Ids and tokens in a status, in their order."""
    for name, member in value.items() if isinstance(value, dict) else ():
        if name in _NAMED and member is not None:
            yield member
        yield from named(member)
    for element in value if isinstance(value, list) else ():
        yield from named(element)


def renamed(value: Any, names: dict[str, int]) -> Any:
    match value:
        case dict():
            return {name: renamed(member, names) for name, member in value.items()}
        case list():
            return [renamed(element, names) for element in value]
        case str():
            return names.get(value, value)
    return value


# Plugin, gateway and admission read the operator's statuses


def answer(call: Callable[[], Any]) -> Any:
    """Value of a call, or its refusal without the detail."""
    try:
        return call()
    except (CliError, CannotCancel) as error:
        return type(error)
    except Problem as error:
        return error.status, error.more


def plugin(kind: Kind, body: Body, place: ScenarioPlace) -> list[Any]:
    item = Item.parse(kind, body)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: (asked := retrying.retry(item, place.world.now)).change | {"ask": asked.ask},
        lambda: retrying.paid_run(item).change,
        lambda: collecting.collect(item),
        lambda: adopting.adopt(item, "request-1").change,
        lambda: cancelling.cancel(item).change,
        lambda: approving.decide(item, Verdict.APPROVED, lambda: "ann", "x").change,
        lambda: approving.decide(item, Verdict.REJECTED, lambda: "ann", "x").change,
    )
    return [item.facts, replace(item.job, message=""), item.idle, *map(answer, calls)]


def gateway(kind: Kind, body: Body) -> list[Any]:
    state, record = JobRunState.parse(body), document(JobSnapshot.parse(kind, body))
    calls: tuple[Callable[[], Any], ...] = (
        lambda: run_state.require_retryable(state, body),
        lambda: run_state.require_estimated(state, body),
        lambda: run_state.require_cancellable(state),
        lambda: run_state.require_waiting(state, None),
        lambda: run_state.require_resubmit_token(state, "0badcafe"),
        lambda: run_state.require_resubmit_token(state, state.resubmit_token or ""),
        lambda: run_state.collect_annotation(state, body),
        lambda: run_state.ignored_annotations(body),
        lambda: run_state.estimate_of(body),
    )
    views = [replace(each, sentence="") for each in (state_of_resource(body), state_of_record(record))]
    return [replace(state, message=""), reworded(record), *views, *map(answer, calls)]


class SpendPolicy:
    """The admission policy `spend` in CEL, without the questions about rights."""

    def __init__(self) -> None:
        policies = yaml.safe_load_all(POLICIES.read_text())
        spec = next(policy["spec"] for policy in policies if policy["metadata"]["name"].endswith("-spend"))
        given = ("given", "before")  # annotations, by optional fields, which this evaluator lacks
        variables = {
            variable["name"]: variable["expression"] for variable in spec["variables"] if variable["name"] not in given
        }
        rules = [
            validation["expression"]
            for validation in spec["validations"]
            if "authorizer" not in validation["expression"]
        ]
        self._variables = {name: cel.compile(variable) for name, variable in variables.items()}
        self._rules = [cel.compile(rule) for rule in rules]

    def admits(self, body: Body, annotations: dict[str, str]) -> bool:
        """Whether the annotations may be added."""
        before = body["metadata"].get("annotations") or {}
        variables: Body = {"given": before | annotations, "before": before}
        values = {"object": body | {"metadata": {}}, "oldObject": body, "variables": variables}
        for name, program in self._variables.items():
            variables[name] = program.execute(cel.Context(values, dict(stdlib.STDLIB_FUNCTIONS)))
        return all(rule.execute(cel.Context(values, dict(stdlib.STDLIB_FUNCTIONS))) is True for rule in self._rules)


def admission(policy: SpendPolicy, body: Body) -> dict[tuple[str, str], bool]:
    facts = Facts.parse(body["status"])
    number = str(facts.number)
    asked = [("resubmit", "0badcafe"), ("cancel", number), ("cancel", "9"), ("collect", number), ("collect", "9")]
    asked += [("resubmit", facts.token)] if facts.token is not None else []
    return {(word, value): policy.admits(body, {f"contentgen.dev/{word}": value}) for word, value in asked}


@pytest.fixture(scope="module")
def policy() -> SpendPolicy:
    return SpendPolicy()


@pytest.mark.parametrize("each", SCENARIOS, ids=lambda each: f"{each.reason}: {each.name}")
async def test_only_printing_code_reads_messages(
    each: Scenario, policy: SpendPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        place = await arrived(each, patch, copy.copy)
        body = copy.deepcopy(place.world.kube.resources[place.kind, "it"])
        compare_readers(place, body, policy)
        plain = await observable(place)
    with monkeypatch.context() as patch:
        assert await observable(await arrived(each, patch, reworded)) == plain


def compare_readers(place: ScenarioPlace, body: Body, policy: SpendPolicy) -> None:
    """Plugin, gateway and admission answer to a reworded status as to the operator's own."""
    other = body | {"status": reworded(body["status"])}
    assert other != body
    assert plugin(place.kind, other, place) == plugin(place.kind, body, place)
    assert gateway(place.kind, other) == gateway(place.kind, body)
    admitted = admission(policy, other)
    assert admitted == admission(policy, body)
    token = Facts.parse(body["status"]).token
    assert [value for (word, value), admits in admitted.items() if word == "resubmit" and admits] == (
        [token] if token is not None else []
    )
