"""The advice table: for each reason a scenario that leads to it, and the execution of each of its remedies."""

import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import stamina

from contentgen_cli.commands import adopting, approving, cancelling, collecting, retrying
from contentgen_cli.commands.why import ResourceContext, explain
from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_contract.advice import guidance as advice
from contentgen_contract.advice.permitted_actions import status_actions
from contentgen_contract.advice.remedies import REASONS, Action, Costs, Kept, Paid, Remedy, When
from contentgen_contract.names import ACCOUNT_LABEL, APPROVE_ANNOTATION, Kind, Phase, Reason, Verdict
from contentgen_gateway.problems import Problem
from contentgen_gateway.services.orphans import orphan
from contentgen_gateway.services.run_state import JobRunState, collect_annotation, require_retryable
from contentgen_operator.providers.base import Unavailable
from contentgen_operator.state.provider_requests import Found, RequestState, RequestView, Verified
from contentgen_simulation.advice_scenarios import (
    LOST,
    NOT_IN_A_LATER_ATTEMPT,
    ONCE,
    SCENARIOS,
    Scenario,
    ScenarioPlace,
    place_of,
    reach_second_attempt,
)
from contentgen_simulation.world import SPECS

_EXPECTED_POSTS = {Costs.FREE: 0, Costs.ONCE: 1, Costs.PAYS: 1, Costs.MAY_PAY_TWICE: 1, Costs.AFTER_EARLIER: 1}
_NAMED = re.compile(r"contentgen\.dev/(collect|adopt|resubmit)=")
_RECONCILES = 400


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


def name_of(each: Scenario) -> str:
    return f"{each.reason}: {each.name}"


FOLLOWED = [(scenario, action) for scenario in SCENARIOS for action in scenario.helps if action not in scenario.skipped]


# Execution of each action with the plugin's patch, which must match the message


def annotations(change: dict[str, Any]) -> dict[str, str]:
    return dict(change["metadata"]["annotations"])


def in_message(item: Item, name: str) -> str:
    """Value of an annotation in the message, which is the one in `status.actions`."""
    found = re.search(rf"{re.escape(name)}=(\S+)", item.status.message or "")
    assert found, item.status.message
    value = found[1].rstrip(",;.")
    assert [action.value for action in item.status.actions if action.annotation == name] == [value]
    return value


async def repair(place: ScenarioPlace, _: Remedy) -> None:
    await place.repair()


async def fetch(place: ScenarioPlace, _: Remedy) -> None:
    await place.repair()
    item = place.item()
    change = collecting.collect(item)
    assert change is not None
    ((name, value),) = annotations(change).items()
    assert in_message(item, name) == value
    place.apply(**{name: value})


async def run_again(place: ScenarioPlace, remedy: Remedy) -> None:
    await place.repair()
    try:
        asked = retrying.retry(place.item(), place.world.now)
    except CliError:
        assert remedy.costs is Costs.ONCE or place.item().facts.attempt > 1
        assert "kubectl" not in remedy.sentence, "the plugin refuses what it advises"
        return place.apply(**{"contentgen.dev/rerun": "again"})
    assert asked.ask or remedy.costs is Costs.ONCE, "a payment without a question"
    assert ("Nothing was paid" in asked.text) == (remedy.costs is Costs.ONCE)
    return place.apply(**annotations(asked.change))


async def name_it(place: ScenarioPlace, _: Remedy) -> None:
    place.apply(**annotations(adopting.adopt(place.item(), "request-1").change))


async def allow(place: ScenarioPlace, _: Remedy) -> None:
    item = place.item()
    asked = retrying.retry(item, place.world.now)
    ((name, value),) = annotations(asked.change).items()
    assert asked.ask
    assert in_message(item, name) == value
    place.apply(**{name: value})


async def edit(place: ScenarioPlace, _: Remedy) -> None:
    assert place.edit is not None
    place.breaking.clear()
    place.apply(place.edit)


async def resume(place: ScenarioPlace, _: Remedy) -> None:
    place.apply(place.spec | {"suspend": False})


async def approve(place: ScenarioPlace, _: Remedy) -> None:
    item = place.item()
    given = annotations(approving.decide(item, Verdict.APPROVED, lambda: "alice", "x").change)
    assert in_message(item, APPROVE_ANNOTATION) == given[APPROVE_ANNOTATION]
    place.apply(**{name: value for name, value in given.items() if value is not None})


async def restore(place: ScenarioPlace, _: Remedy) -> None:
    assert place.restore is not None
    await place.restore()
    if place.world.status(place.kind).phase is Phase.FAILED:
        await fetch(place, _)


async def delete_other(place: ScenarioPlace, _: Remedy) -> None:
    assert place.delete_other is not None
    await place.delete_other()


FOLLOW: dict[Action, Callable[[ScenarioPlace, Remedy], Awaitable[None]]] = {
    Action.NONE: repair,
    Action.WAIT: repair,
    Action.REPAIR: repair,
    Action.RESUME: resume,
    Action.COLLECT: fetch,
    Action.ADOPT: name_it,
    Action.RESTORE: restore,
    Action.EDIT: edit,
    Action.RERUN: run_again,
    Action.RESUBMIT: allow,
    Action.APPROVE: approve,
    Action.DELETE_OTHER: delete_other,
}


# Stored objects and purchases that no action may lose


def kept(place: ScenarioPlace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Objects by key and purchases by id. Files of an unfinished version may be overwritten."""
    finished = {file.key for version in place.world.status(place.kind).versions for file in version.files}
    objects = place.world.storage.objects
    fixed = {key: value for key, value in objects.items() if key in finished or key.startswith("purchases/")}
    sent = [purchase for purchase in place.world.database["ledger"].find() if purchase["state"] != "refused"]
    return dict.fromkeys(objects) | fixed, {document["_id"]: document for document in sent}


def assert_kept(place: ScenarioPlace, before: tuple[dict[str, Any], dict[str, Any]]) -> None:
    objects, purchases = (
        place.world.storage.objects,
        {purchase["_id"]: purchase for purchase in place.world.database["ledger"].find()},
    )
    assert [key for key in before[0] if key not in objects] == []
    assert [key for key, value in before[0].items() if value is not None and objects[key] != value] == []
    for key, was in before[1].items():
        now = purchases[key]
        assert was.get("requestId") in (None, now.get("requestId")), key
        assert now["state"] == was["state"] or now["state"] not in ("discarded", "cancelled", "refused"), key


def assert_says_what_was_paid(place: ScenarioPlace, each: Scenario) -> None:
    facts = place.item().facts
    said = advice.payment_state(facts)
    if each.reason in (Reason.ADOPTED_FINISHED_RUN, Reason.ADOPTED_SAME_REQUEST) or each.paid == 0:
        assert said is Paid.NOTHING
    else:
        assert said in (Paid.PAID, Paid.UNKNOWN, Paid.BILLED)
    if advice.has_result(facts):
        assert place.purchases[-1]["resultKey"] in place.world.storage.objects
    assert_says_what_is_kept(place, REASONS[each.reason].kept)


def assert_says_what_is_kept(place: ScenarioPlace, said: Kept) -> None:
    """`purchases` counts the ones that were sent; the response belongs to the last one."""
    status, objects = place.world.status(place.kind), place.world.storage.objects
    sent = [every for every in place.purchases if every["state"] != "refused"]
    if place.item().facts.attempt > 1:  # the table is about the current attempt
        sent = [every for every in sent if not every["_id"].endswith("/1")]
    purchases = [every for every in sent if every["state"] != "intent" or every["sentAt"]]
    response = bool(purchases) and purchases[-1].get("resultKey") in objects
    files = [file.key in objects for every in status.versions for file in every.files]
    if said is Kept.OUTPUTS:
        assert (response, bool(files), all(files)) == (True, True, True)
    elif said is Kept.RECORD:
        assert (len(purchases), response, files) == (1, False, [])
    elif said is Kept.VERSIONS:
        assert (purchases, all(files)) == ([], True)
    else:
        marked = any(key.startswith("purchases/by-key/") for key in objects)
        assert purchases or marked or not place.item().facts.sent
        assert all(files)


def assert_messages_agree(place: ScenarioPlace, remedies: dict[Action, Remedy]) -> None:
    """The message contains the annotations of the remedies that apply, and no others."""
    item = place.item()
    named = {Action(each) for each in _NAMED.findall(item.status.message or "")}
    may = set(remedies) | ({Action.COLLECT} if Action.RESTORE in remedies else set())
    assert named <= may, item.status.message
    must = {each for each in (Action.COLLECT, Action.RESUBMIT) if each in remedies}
    assert must <= named, item.status.message
    if Action.RESUBMIT in remedies:
        assert (Action.ADOPT in named) == (Action.ADOPT in remedies)


def assert_everybody_advises_the_same(place: ScenarioPlace, remedies: dict[Action, Remedy]) -> None:
    """The plugin's `why` and the gateway's refusals give the same advice."""
    item, body = place.item(), place.world.kube.resources[place.kind, "it"]
    assert item.status.actions == status_actions(item.job), "the status has the actions of the resource"
    told = explain(item, ResourceContext(), place.world.now)
    do = dict(told.parts).get("Do", ())
    assert list(do)[-len(remedies) :] == [
        f"{remedy.sentence.replace('NAME', item.reference)} ({remedy.costs.value})." for remedy in remedies.values()
    ]
    free = [remedy for remedy in remedies.values() if remedy.costs is Costs.FREE]
    if Action.COLLECT in remedies:
        assert f"contentgen collect {item.reference}" in told.commands
    if free and item.status.phase is Phase.FAILED:
        assert not any("retry" in command or command.startswith("edit") for command in told.commands)
    state = JobRunState.parse(body)
    assert (state.resubmit_token is not None) == (Action.RESUBMIT in remedies)
    if Action.RESUBMIT in remedies:
        with pytest.raises(Problem, match=f"resubmit={state.resubmit_token}") as refused:
            require_retryable(state, body)
        assert refused.value.more == {"resubmit": state.resubmit_token}
        for each in free:
            assert each.sentence.replace("NAME", "it") in str(refused.value.detail)
    if Action.COLLECT in remedies:
        assert collect_annotation(state, body) == advice.collect_value(item.facts)


async def goes_on(place: ScenarioPlace) -> None:
    for _ in range(_RECONCILES):
        await place.world.reconcile(place.kind)
        if place.world.status(place.kind).phase is Phase.COMPLETED:
            break
    for _ in range(5):
        await place.world.reconcile(place.kind)
    status = place.world.status(place.kind)
    assert status.phase is Phase.COMPLETED, status
    assert [file.key for file in status.versions[-1].files if file.key not in place.world.storage.objects] == []


@pytest.mark.parametrize(("each", "action"), FOLLOWED, ids=[f"{name_of(each)}: {action}" for each, action in FOLLOWED])
async def test_followed_advice_pays_what_it_announces(
    each: Scenario, action: Action, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first one of a scenario, everything that is said in it is checked."""
    place = place_of(each, monkeypatch)
    await each.arrive(place)
    facts = place.item().facts
    assert facts.reason is each.reason, place.world.status(place.kind)
    if action is next(first for first in each.helps if first not in each.skipped):
        assert_all_advise_the_same(place, each)
    advised = advice.applicable_remedies(facts)
    remedies = {remedy.action: remedy for remedy in advised}
    assert [(remedy.action, remedy.costs) for remedy in advised] == [
        (listed, each.helps[listed]) for listed in remedies
    ], "one remedy of each kind"
    assert set(remedies) == set(each.helps)
    before, posts = kept(place), place.posts
    await FOLLOW[action](place, remedies[action])
    await goes_on(place)
    assert place.posts - posts == _EXPECTED_POSTS[remedies[action].costs]
    assert_kept(place, before)


def test_every_remedy_of_the_table_is_followed() -> None:
    table = {(reason, remedy.action, remedy.costs) for reason, row in REASONS.items() for remedy in row.remedies}
    followed = {(each.reason, action, each.helps[action]) for each, action in FOLLOWED if not each.earlier}
    assert followed == table


def test_paying_remedies_lead_to_a_later_attempt() -> None:
    """After each end of the first attempt: the costs of the table are of a run whose first attempt was not sent."""
    table = ((reason, remedy) for reason, row in REASONS.items() for remedy in row.remedies if remedy.costs is ONCE)
    once = {(reason, each.action) for reason, each in table if each.when is not When.TOO_SLOW}  # a prepare stage
    tested = {(scenario.reason, action) for scenario in SCENARIOS if scenario.earlier for action in scenario.helps}
    assert tested == {(reason, action) for reason, action in once if reason not in NOT_IN_A_LATER_ATTEMPT}


@pytest.mark.parametrize("reason", list(Reason))
def test_reasons_after_a_paid_attempt_do_not_deny_the_payment(reason: Reason) -> None:
    later = advice.Facts(reason=reason, phase=Phase.FAILED, number=1, attempt=2)
    for facts in (later, replace(later, billed=True), replace(later, open=True)):
        assert advice.payment_state(facts) is not Paid.NOTHING
        assert not [remedy for remedy in advice.applicable_remedies(facts) if remedy.costs is ONCE]
        if not facts.sent:
            assert "attempt of this run" in advice.advice_lines(facts)[0]
    assert advice.payment_state(replace(later, billed=True)) in (Paid.PAID, REASONS[reason].paid)


def test_free_remedies_come_first() -> None:
    for reason, row in REASONS.items():
        free = [remedy.costs is Costs.FREE for remedy in row.remedies]
        assert free == sorted(free, reverse=True), reason


# Advice outside of the table


def test_an_action_of_every_scenario_is_followed() -> None:
    """`assert_all_advise_the_same` is part of that."""
    assert [name_of(scenario) for scenario in SCENARIOS if not set(scenario.helps) - scenario.skipped] == []


def assert_all_advise_the_same(place: ScenarioPlace, each: Scenario) -> None:
    """A refused `retry`, `collect` or `adopt` recommends no payment without naming it."""
    item = place.item()
    helps = {remedy.action: remedy for remedy in advice.applicable_remedies(item.facts)}
    assert_says_what_was_paid(place, each)
    assert_messages_agree(place, helps)
    assert_everybody_advises_the_same(place, helps)
    for refused in refusals(place, item):
        for command in re.findall(r"kubectl (?:contentgen )?(\w+)", refused):
            assert command == "why" or _BY_COMMAND[command] & set(helps), refused
        if Action.COLLECT in helps and "kubectl edit" in refused:
            assert "kubectl contentgen collect" in refused.partition("kubectl edit")[0]
            assert "pays once more" in refused
    if each.earlier and each.paid:
        assert_no_message_says_that_nothing_was_paid(place)


def assert_no_message_says_that_nothing_was_paid(place: ScenarioPlace) -> None:
    """Regression: `retry` asked for no confirmation, also while the first request was still searched."""
    item = place.item()
    assert "nothing was paid" not in (item.status.message or "").replace("nothing was paid for this request", "")
    if item.status.phase is Phase.FAILED:
        told = [*refusals(place, item)]
        if item.status.reason != Reason.INVALID_SPEC:
            asked = retrying.retry(item, place.world.now)
            assert asked.ask
            told.append(asked.text)
        assert not [text for text in told if "othing was paid" in text]
    elif item.status.phase is not Phase.COMPLETED:
        assert "Nothing was paid" not in cancelling.cancel(item).text


_BY_COMMAND = {
    "retry": {Action.RERUN, Action.RESUBMIT},
    "collect": {Action.COLLECT, Action.RESTORE},
    "adopt": {Action.ADOPT},
    "edit": {Action.EDIT},
    "resume": {Action.RESUME},
    "approve": {Action.APPROVE},
}


def refusals(place: ScenarioPlace, item: Item) -> Iterator[str]:
    """Error of the plugin for a refused command."""
    for attempt in (
        lambda: retrying.retry(item, place.world.now),
        lambda: collecting.collect(item),
        lambda: adopting.adopt(item, "request-1"),
    ):
        try:
            attempt()
        except CliError as error:
            yield str(error)


@pytest.mark.parametrize("name", ["an edit of a finished one", "an edit after a failed collect stage"])
async def test_refused_edit_of_a_paid_resource_has_no_result_to_fetch(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator would ignore the annotation: no run has ended with this reason."""
    (each,) = [every for every in SCENARIOS if (every.reason, every.name) == (Reason.INVALID_SPEC, name)]
    place = place_of(each, monkeypatch)
    await each.arrive(place)
    body = place.world.kube.resources[place.kind, "it"]
    assert body["status"]["run"]["requestId"] == "request-1"
    with pytest.raises(CliError, match="its spec was refused, which started no run"):
        collecting.collect(place.item())
    with pytest.raises(Problem, match="its spec was refused, which started no run"):
        collect_annotation(JobRunState.parse(body), body)


async def test_a_cancelled_run_whose_reply_was_lost_has_no_result_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: `collect` said that nothing was paid, and `retry` asked for no confirmation."""
    (each,) = [every for every in SCENARIOS if (every.reason, every.name) == (Reason.CANCELLED, "its reply was lost")]
    place = place_of(each, monkeypatch)
    await each.arrive(place)
    with pytest.raises(CliError, match="no request is known yet"):
        collecting.collect(place.item())
    asked = retrying.retry(place.item(), place.world.now)
    assert asked.ask
    assert asked.text.startswith("It may have been paid")


async def test_attempt_of_a_deleted_resource_is_not_called_unpaid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resource that is applied again continues with the second attempt. The first one is not its cost."""
    (each, *_) = [every for every in SCENARIOS if every.reason is Reason.BUDGET_EXCEEDED and every.earlier == LOST]
    place = place_of(each, monkeypatch)
    await reach_second_attempt(place, LOST)
    place.apply(place.spec | {"deletionPolicy": "Retain"})
    place.world.kube.budgets = [
        {
            "metadata": {"name": "all", "uid": "a-budget", "generation": 1, "resourceVersion": "1"},
            "spec": {"limits": {"day": "0.01"}, "onExceeded": "Fail"},
        }
    ]
    del place.world.kube.resources[place.kind, "it"]
    place.uid, place.annotations = "second", {}
    place.apply()
    await place.until_over()
    facts = place.item().facts
    assert (facts.reason, facts.attempt, facts.billed, place.posts) == (Reason.BUDGET_EXCEEDED, 2, None, 1)
    assert advice.payment_state(facts) is Paid.UNKNOWN
    assert retrying.retry(place.item(), place.world.now).ask


@pytest.mark.parametrize("account", [None, "marketing"])
async def test_missing_result_is_searched_in_its_account_first(
    account: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run would pay twice for a result that the provider may have again."""
    name = "its result is gone"
    (each,) = [every for every in SCENARIOS if (every.reason, every.name) == (Reason.RESULT_INVALID, name)]
    place = place_of(each, monkeypatch)
    if account is not None:
        place.world.kube.server.namespace_labels["ns"] = {ACCOUNT_LABEL: account}
        provider = place.world.add_account(account)
        place.patch.setattr(place.world, "provider", provider)
    await each.arrive(place)
    item = place.item()
    message, told = item.status.message or "", " ".join(advice.advice_lines(item.facts))
    assert f"in the account that it was sent with ({account or 'the default one'}), before another payment" in message
    assert "check first that the operator's key is of the account that the request was sent with" in told
    asked = retrying.retry(item, place.world.now)
    assert asked.ask
    assert "check first that the operator's key" in asked.text.replace("\n", " ")


async def test_older_training_is_kept_while_its_request_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion cancels the request: the older one would be paid for nothing, and this one too."""
    name = "an older one is paid"
    (each,) = [every for every in SCENARIOS if (every.reason, every.name) == (Reason.WAITING_FOR_LORA_NAME, name)]
    place = place_of(each, monkeypatch)
    await each.arrive(place)
    item = place.item()
    assert "deleted, which cancels its request if that has not ended" in (item.status.message or "")
    remedy = advice.find_remedy(item.facts, Action.DELETE_OTHER)
    assert remedy is not None
    assert remedy.sentence.startswith("Wait until the older one has ended, then delete it")
    assert "cancels its request, which was paid" in remedy.sentence


async def test_the_refusal_of_a_key_asks_for_one_of_the_same_account(monkeypatch: pytest.MonkeyPatch) -> None:
    (each,) = [
        every
        for every in SCENARIOS
        if (every.reason, every.name) == (Reason.PROVIDER_NOT_CONFIGURED, "after the payment")
    ]
    place = place_of(each, monkeypatch)
    await each.arrive(place)
    item = place.item()
    assert "a valid fal-key of the same account" in (item.status.message or "")
    (remedy,) = advice.applicable_remedies(item.facts)
    assert "of the same account at the provider" in remedy.sentence
    assert "providers.existingSecret" in remedy.sentence
    assert "providers.accounts" in remedy.sentence


async def follow_after_refusal(place: ScenarioPlace) -> None:
    await place.until(lambda: "did nothing" in (place.world.status(place.kind).message or ""))


@pytest.mark.parametrize(
    ("run", "advised"),
    [
        ({"logs": [{"stage": "prepare", "attempt": 1}]}, True),
        ({"logs": [{"stage": "prepare", "attempt": 2}], "stageAttempt": 2}, True),
        ({"logs": [{"stage": "prepare", "attempt": 1}], "stageAttempt": 2}, False),  # the second one waits for a node
        ({"logs": [{"stage": "prepare", "attempt": 1}], "facts": {}}, False),  # it waits for an approval
        ({"logs": [{"stage": "prepare", "attempt": 1}], "sentAt": "2026-11-21T00:00:00Z"}, False),
        ({"logs": [{"stage": "collect", "attempt": 1}]}, False),
        ({}, False),
    ],
)
def test_a_shorter_recording_is_advised_only_where_a_worker_ran(run: dict[str, Any], advised: bool) -> None:
    facts = advice.Facts.parse({"phase": "Failed", "reason": "DeadlineExceeded", "run": {"number": 1} | run})
    assert ("shorter recording" in " ".join(advice.advice_lines(facts))) is advised


@pytest.mark.parametrize("reason", [Reason.DEADLINE_EXCEEDED, Reason.CANCELLED])
async def test_early_collect_is_followed_by_a_collect_that_reads(
    reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each annotation value is processed once, so the message contains the next one."""
    (each,) = [every for every in SCENARIOS if (every.reason, every.name) == (reason, "the request goes on")]
    place = place_of(each, monkeypatch)
    await each.arrive(place)
    place.apply(**{"contentgen.dev/collect": in_message(place.item(), "contentgen.dev/collect")})
    await follow_after_refusal(place)
    await place.repair()
    value = in_message(place.item(), "contentgen.dev/collect")
    assert value == advice.collect_value(place.item().facts)
    place.apply(**{"contentgen.dev/collect": value})
    await goes_on(place)
    assert place.posts == 1


async def test_unreconcilable_resource_is_applied_again_unpaid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The commands of docs/runbooks/ContentgenReconcileErrors.md, after each reconcile of a run."""
    (each,) = [every for every in SCENARIOS if (every.reason, every.name) == (Reason.COMPLETED, "bought")]
    ends = set()
    for reconciles in range(12):
        place = place_of(each, monkeypatch)
        place.apply()
        for _ in range(reconciles):
            await place.world.reconcile(place.kind)
        state = place.purchases[0]["state"] if place.purchases else None
        responses = [key for key in place.world.storage.objects if key.startswith("purchases/")]
        place.apply(place.spec | {"deletionPolicy": "Retain"})
        await place.world.until_gone(place.kind)
        place.uid = "second"
        place.apply()
        await place.until_over()
        assert place.posts == (0 if state == "intent" and not place.posts else 1), reconciles
        assert [key for key in responses if key not in place.world.storage.objects] == []
        status = place.world.status(place.kind)
        cancelled = (Phase.FAILED, Reason.CANCELLED)
        assert (status.phase, status.reason) == cancelled if state == "submitted" else status.phase is Phase.COMPLETED
        ends.add((state, status.phase))
    assert {("submitted", Phase.FAILED), ("collected", Phase.COMPLETED), (None, Phase.COMPLETED)} <= ends


async def test_suspended_resource_buys_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suspension of docs/runbooks/ContentgenSpending.md."""
    (each,) = [every for every in SCENARIOS if (every.reason, every.name) == (Reason.COMPLETED, "bought")]
    for reconciles in range(8):
        place = place_of(each, monkeypatch)
        place.apply()
        for _ in range(reconciles):
            await place.world.reconcile(place.kind)
        paid = place.posts
        place.apply(place.spec | {"suspend": True})
        for _ in range(20):
            await place.world.reconcile(place.kind)
        assert place.posts == paid, reconciles


async def test_a_doubtful_payment_may_be_left_by_a_deletion(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/runbooks/ContentgenSubmissionUnknown.md: nothing is paid, and the resource applied again searches for it."""
    (each,) = [
        every for every in SCENARIOS if (every.reason, every.name) == (Reason.SUBMISSION_UNKNOWN, "its reply was lost")
    ]
    place = place_of(each, monkeypatch)
    await each.arrive(place)
    place.world.kube.delete(place.kind, place.world.now)
    for _ in range(200):
        place.world.now += timedelta(minutes=10)
        await place.world.reconcile(place.kind)
        if not place.world.there(place.kind):
            break
    assert not place.world.there(place.kind)
    assert place.posts == 1
    await place.repair()
    place.uid = "second"
    place.apply()
    await goes_on(place)
    assert place.posts == 1


async def test_long_words_of_a_provider_do_not_cut_the_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the history nor the adopted request can be read; both errors are long."""
    (each,) = [
        every for every in SCENARIOS if (every.reason, every.name) == (Reason.SUBMISSION_UNKNOWN, "its reply was lost")
    ]
    place = place_of(each, monkeypatch)
    await each.arrive(place)

    async def unread(*_: Any) -> Any:
        raise Unavailable("503 contentgen.dev/resubmit=0badcafe " + "x" * 2000)

    async def unknown(*_: Any) -> Verified:
        return Verified(same=None, text="y" * 2000)

    place.patch.setattr(place.world.provider, "find", unread)
    place.patch.setattr(place.world.provider, "verify", unknown)
    place.apply(**{"contentgen.dev/adopt": "r" * 128})
    await place.until(lambda: "is not adopted" in (place.world.status(place.kind).message or ""))
    item = place.item()
    assert retrying.retry(item, place.world.now).ask
    assert (item.status.message or "").endswith(f"contentgen.dev/resubmit={item.facts.token}")


@pytest.mark.parametrize("token", [None, "0badcafe"])
def test_the_token_is_a_field_of_the_status(token: str | None) -> None:
    """Regression: it was read in the message, which repeats the words of providers."""
    status = {"message": "allow another payment with contentgen.dev/resubmit=ffff", "run": {"resubmitToken": token}}
    assert advice.Facts.parse(status | {"phase": "SubmissionUnknown"}).token == token
    assert advice.Facts.parse(status | {"phase": "Failed"}).token is None


# Advice in the list of orphans


async def advice_for(place: ScenarioPlace, state: str) -> str:
    """Advice of the orphan list for a purchase in this state."""
    for _ in range(40):
        (document,) = place.purchases
        found = orphan(document, timedelta(days=30)) if document.get("orphanedAt") else None
        if found is not None and found.state == state:
            return found.advice
        place.world.now += timedelta(minutes=1)
        await place.world.orphans[-1].round(place.world.now)
    raise AssertionError(place.purchases)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("state", ["searched", "unfinished", "kept"])
async def test_an_orphan_that_is_applied_again_takes_what_was_paid(
    state: str, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of(SCENARIOS[0], monkeypatch)
    place.kind = Kind.IMAGE_GENERATION
    place.spec = SPECS[place.kind] | {"deletionPolicy": policy}
    place.world.provider.cancels = False
    find, poll = place.world.provider.find, place.world.provider.poll

    async def nothing_found(_: Any) -> Found:
        return Found(request_id=None, complete=True)

    async def running(*_: Any) -> RequestView:
        return RequestView(state=RequestState.RUNNING, message="running")

    if state == "searched":
        place.world.provider.lose_replies = {1}
        place.patch.setattr(place.world.provider, "find", nothing_found)
    if state != "kept":
        place.patch.setattr(place.world.provider, "poll", running)
    place.apply()
    await place.until(lambda: place.posts == 1)
    if state != "searched":
        await place.until_reason(Reason.PROCESSING)
    del place.world.kube.resources[place.kind, "it"]  # with its namespace, or its finalizer was removed by hand
    place.world.kube.jobs.clear()
    told = await advice_for(place, state)
    assert "apply ImageGeneration it again with the same spec" in told
    assert "nothing is paid until you allow it" in told or "pays nothing" in told
    place.patch.setattr(place.world.provider, "find", find)
    place.patch.setattr(place.world.provider, "poll", poll)
    place.uid = "second"
    place.apply()
    await goes_on(place)
    assert place.posts == 1


async def test_orphan_to_be_discarded_is_kept_by_applying_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (each,) = [every for every in SCENARIOS if every.reason is Reason.PROCESSING]
    place = place_of(each, monkeypatch)
    place.world.provider.cancels = False
    await each.arrive(place)
    poll = place.world.provider.poll

    async def running(*_: Any) -> RequestView:
        return RequestView(state=RequestState.RUNNING, message="running")

    place.patch.setattr(place.world.provider, "poll", running)
    await place.world.until_gone(place.kind)
    told = await advice_for(place, "unfinished")
    assert "its result will be discarded; to keep the result, apply ImageGeneration it again" in told
    place.patch.setattr(place.world.provider, "poll", poll)
    place.uid = "second"
    place.apply()
    await goes_on(place)
    assert place.posts == 1
