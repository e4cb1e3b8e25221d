"""Sample of the randomized campaign (`make rehearse` runs thousands), and proof that each oracle detects violations."""

import copy
import itertools
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest

import contentgen_simulation.rehearsal
from contentgen_contract.names import (
    ADOPT_ANNOTATION,
    COLLECT_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Kind,
    Phase,
    Reason,
    Stage,
)
from contentgen_contract.records.notifications import NotificationState
from contentgen_contract.resources.spec import NotificationEvent
from contentgen_operator import act
from contentgen_operator.approval import gate as approval
from contentgen_operator.audit import comparison
from contentgen_operator.audit.facts import AuditLimits
from contentgen_operator.audit.rounds import AccountAudit, AuditPlan
from contentgen_operator.audit.store import AuditedLedger, ReadPurchases
from contentgen_operator.budgets.store import BudgetStore
from contentgen_operator.budgets.values import BudgetWindow
from contentgen_operator.cleanup import expiry
from contentgen_operator.decide import decision, payment, request_endings, stages
from contentgen_operator.decide.policies import estimate, gate_order
from contentgen_operator.kube.job_manifests import job_manifest
from contentgen_operator.notifications import guarded_post, notifier
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.notifications.signing import signed_headers
from contentgen_operator.observe import Observer
from contentgen_operator.orphans.rounds import Orphans
from contentgen_operator.plans import planning
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.provider_requests import RequestState, RequestView
from contentgen_operator.state.purchases import Purchase
from contentgen_simulation.rehearsal.campaign import Report, campaign, shrink
from contentgen_simulation.rehearsal.generate import (
    AUDITING,
    DAY,
    DECIDING,
    DELIVERING,
    EXPIRING_POINTS,
    FATES,
    GROUPS,
    LINE_FAULTS,
    LINES,
    PHASES,
    POLICY_SEED,
    POLICY_TURNS,
    RESTORE_SEED,
    RESTORE_TURNS,
    REWOUND,
    TURNS,
    UIDS,
    WAITING_POINTS,
    generate,
)
from contentgen_simulation.rehearsal.known import KNOWN, reason_of
from contentgen_simulation.rehearsal.run import RehearsalVerdict, quiet, rehearse
from contentgen_simulation.rehearsal.world import background, provider
from contentgen_simulation.rehearsal.world.actions import Actions
from contentgen_simulation.rehearsal.world.cluster import RehearsalCluster, ref_of
from contentgen_simulation.rehearsal.world.faults import FaultInjector
from contentgen_simulation.rehearsal.world.plan import HOOK, PRIVATE, RESPELLED, PlannedEvent, RehearsalPlan, Subject
from contentgen_simulation.rehearsal.world.process import RehearsalProcess
from contentgen_simulation.rehearsal.world.provider import Adapters, ProviderWorld
from contentgen_simulation.rehearsal.world.world import RehearsalWorld

# The SDK uses pydantic's older names.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

SAMPLE, POLICY_SAMPLE = 81, 24
POLICY_PLANS, RESTORE_PLANS = 1000, 750  # of `make rehearse`
ALL = os.environ.get("CONTENTGEN_ACCEPTANCE") == "all"
IMAGES, LORA = Kind.IMAGE_GENERATION, Kind.LORA_TRAINING
TWO = (Subject("ns", IMAGES, "one"), Subject("other", IMAGES, "two", 1))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Restore the loggers for tests of other files in this process."""
    loggers = [logging.getLogger(name) for name in ("contentgen_operator", "contentgen_runtime", "stamina")]
    before = [(logger, logger.propagate, logger.level) for logger in loggers]
    quiet()
    yield
    for log, propagate, level in before:
        log.propagate = propagate
        log.setLevel(level)


def plan_of(kind: Kind = IMAGES, *events: PlannedEvent, **changes: Any) -> RehearsalPlan:
    return RehearsalPlan(0, "test", (Subject("ns", kind, "it"),), events, takes=2.0, **changes)


# The sample


def test_a_sample_of_the_campaign_finds_nothing_unknown() -> None:
    report = Report()
    for finding in campaign(range(SAMPLE + 16)):
        report.add(finding)
        if len(report.findings) == SAMPLE:
            break
    assert len(report.distinct) == SAMPLE
    unknown = {signature: [each.seed for each in found] for signature, found in report.unknown.items()}
    assert not unknown, "python -m contentgen_simulation.rehearsal --replay SEED --shrink"
    assert set(report.groups) == set(TURNS)
    assert sum(finding.posts for finding in report.findings) > SAMPLE, "most plans buy something"


def test_a_sample_of_the_policies_plans_finds_nothing_unknown() -> None:
    report = Report()
    for finding in campaign(range(POLICY_SEED, POLICY_SEED + POLICY_SAMPLE)):
        report.add(finding)
    unknown = {signature: [each.seed for each in found] for signature, found in report.unknown.items()}
    assert not unknown, "python -m contentgen_simulation.rehearsal --replay SEED --shrink"
    assert set(report.groups) == set(POLICY_TURNS)
    assert sum(finding.posts for finding in report.findings) > POLICY_SAMPLE / 2


def test_known_violations_name_their_finding() -> None:
    assert all(reason.startswith(("money ", "tenants ", "docs/")) for reason in KNOWN.values())
    assert reason_of("no such violation: at all") is None


def test_a_seed_always_tells_the_same_story() -> None:
    for seed in (1, 7, 8):
        first, second = rehearse(generate(seed)), rehearse(generate(seed))
        assert first.story == second.story
        assert first.plan.digest == second.plan.digest


@cache
def all_plans() -> tuple[RehearsalPlan, ...]:
    """The plans of `make rehearse`."""
    restores = range(RESTORE_SEED, RESTORE_SEED + RESTORE_PLANS)
    seeds = (*range(3000), *range(POLICY_SEED, POLICY_SEED + POLICY_PLANS), *restores)
    return tuple(generate(seed) for seed in seeds)


def test_plans_cover_what_they_should() -> None:
    plans = all_plans()
    assert len({plan.digest for plan in plans}) > 3900
    actions = Counter(event.do for plan in plans for event in plan.events)
    assert actions.keys() == {name for name in vars(Actions) if not name.startswith("_")}
    events = [event for plan in plans for event in plan.events]
    assert {event.args["store"] for event in events if event.do == "unavailable"} == {"mongo", "storage", "kube"}
    fates = {plan.results["1"] for plan in plans if plan.group == "results"}
    assert fates == set(FATES)
    assert {event.args["code"] for event in events if event.do == "refuse"} >= {403, 422, 429}
    assert {event.args["action"] for event in events if event.do == "io"} == {
        "crash", "error", "freeze", "sigterm", "meanwhile",
    }  # fmt: skip


@dataclass(frozen=True)
class RehearsedPolicy:
    """Plans of a policy: its waits, and the anchors of the crashes in them."""

    has: Callable[[RehearsalPlan], Any]
    waits: tuple[str, ...]
    anchor: str
    points: int = 8  # that crashes strike


def _any_with(option: str) -> Callable[[RehearsalPlan], bool]:
    return lambda plan: any(option in subject.options for subject in plan.subjects)


def _any_event(name: str) -> Callable[[RehearsalPlan], bool]:
    return lambda plan: any(event.do == name for event in plan.events)


NOTIFIED = ("phase:Completed", "phase:Failed", "phase:AwaitingApproval", "reason:BudgetExceeded")
REHEARSED = {
    "approval": RehearsedPolicy(
        lambda plan: _any_with("approval")(plan) or _any_event("require")(plan), ("phase:AwaitingApproval",), "deciding"
    ),
    "budgets": RehearsedPolicy(lambda plan: plan.budget, ("reason:BudgetExceeded",), "reason:BudgetExceeded"),
    "queues": RehearsedPolicy(lambda plan: plan.places, ("reason:Queued",), "reason:Queued"),
    "cleanup": RehearsedPolicy(_any_with("ttlSecondsAfterFinished"), ("phase:Completed", "phase:Failed"), "expiring"),
    "notifications": RehearsedPolicy(lambda plan: plan.hooks, NOTIFIED, "delivering", DELIVERING),
    "provider accounts": RehearsedPolicy(
        _any_event("grant"), ("reason:ProviderNotConfigured",), "reason:ProviderNotConfigured"
    ),
    "audit": RehearsedPolicy(
        _any_event("audit"),
        ("state:sending", "phase:SubmissionUnknown", *NOTIFIED, "reason:Queued"),
        "auditing",
        AUDITING,
    ),
}


@pytest.mark.parametrize("policy", REHEARSED.values(), ids=REHEARSED)
def test_every_policy_meets_every_failure_and_person(policy: RehearsedPolicy) -> None:
    plans = [plan for plan in all_plans() if policy.has(plan)]
    assert any({"lost", "dropped"} & set(plan.replies.values()) for plan in plans), "a lost reply"
    done = {event.do for plan in plans for event in plan.events if event.on in policy.waits}
    assert done >= {"suspend", "unsuspend", "cancel", "edit", "delete", "apply"}, "while it waits"
    faults = [event.args for plan in plans for event in plan.events if event.do == "io"]
    struck = [fault["nth"] for fault in faults if (fault["anchor"], fault["action"]) == (policy.anchor, "crash")]
    assert len(set(struck)) >= policy.points, "crashes at different points"


def test_every_combination_has_its_turn() -> None:
    plans = all_plans()[:3000]

    def of(group: str) -> list[RehearsalPlan]:
        return [plan for plan in plans if plan.group == group]

    by_store = Counter(
        (each.events[-1].on, any(event.do == "unavailable" for event in each.events)) for each in of("three_uids")
    )
    assert len(by_store) >= 2 * len({state for state, *_ in UIDS}), "each state, with and without a store"
    assert len(of("three_uids")) >= len(UIDS)
    rewound = [event for each in of("rewound") for event in each.events if event.do == "rewind"]
    rewinds = {(tuple(event.args["stores"]), event.on) for event in rewound}
    assert {stores for stores, _ in rewinds} == set(REWOUND)
    assert {on for _, on in rewinds} >= {f"phase:{phase}" for phase in PHASES}
    struck = [(each.subjects[0].kind, event.args) for each in of("lines") for event in each.events]
    lines = {(kind, args["action"], args["nth"]) for kind, args in struck}
    assert lines == {
        (kind, action, nth) for kind in Kind for action in ("crash", "error") for nth in range(LINE_FAULTS * LINES)
    }


def test_the_table_of_plan_classes_is_that_of_the_code() -> None:
    table = contentgen_simulation.rehearsal.__doc__ or ""
    assert set(GROUPS) == {*TURNS, *POLICY_TURNS, *RESTORE_TURNS}
    for turns, plans in ((TURNS, 3000), (POLICY_TURNS, POLICY_PLANS), (RESTORE_TURNS, RESTORE_PLANS)):
        for name in turns:
            assert f"    {name} {plans * turns.count(name) // len(turns)} " in table
    for planted, (signature, _) in PLANTED.items():
        assert planted in table
        assert signature.partition(":")[0] in table


def test_most_faults_strike() -> None:
    groups = ("points", "frozen", "terminated", "lines")
    plans = [plan for seed in range(400) if (plan := generate(seed)).group in groups][:16]
    struck = sum(rehearse(plan).fired > 0 for plan in plans)
    assert struck > len(plans) / 2


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("action", ["crash", "error"])
def test_lines_between_the_plan_and_the_request_id_are_struck(kind: Kind, action: str) -> None:
    """The window is as long as the plans are made for, and a strike late in it comes after the compare-and-set."""
    strikes = [PlannedEvent("line", args={"nth": nth, "action": action}) for nth in (0, 200, 400)]
    verdict = rehearse(plan_of(kind, *strikes))
    assert (verdict.violations, verdict.posts, verdict.fired) == ((), 1, 3)
    late = rehearse(plan_of(kind, PlannedEvent("line", args={"nth": 500, "action": action})))
    assert (late.violations, late.posts, late.fired) == ((), 1, 1)
    assert not rehearse(plan_of(kind, PlannedEvent("line", args={"nth": LINE_FAULTS * LINES, "action": action}))).fired


@pytest.mark.parametrize("action", ["crash", "error"])
@pytest.mark.parametrize("first", range(0, LINES, 25))
def test_lines_of_a_run_under_a_budget_are_struck(first: int, action: str) -> None:
    """Eight strikes in a plan, between the claim of the budget and the stored request id."""
    nths = [first + LINES * number for number in range(LINE_FAULTS - 1)]
    strikes = [PlannedEvent("line", args={"nth": nth, "action": action}) for nth in nths]
    verdict = rehearse(plan_of(IMAGES, *strikes, budget="0.07"))
    assert (verdict.violations, verdict.posts) == ((), 1), _report(verdict)
    assert verdict.fired >= 7


@pytest.mark.parametrize("state", sorted({state for state, *_ in UIDS}))
def test_each_purchase_state_is_reached(state: str) -> None:
    """Both deletions and applications of one of the state's first plans take place, by what the plan waits for."""
    plans = (plan for seed in itertools.count() if (plan := generate(seed)).group == "three_uids")
    tried = itertools.islice((each_plan for each_plan in plans if _deletions(each_plan, f"state:{state}") >= 2), 9)
    assert any(_applications(rehearse(each), f"state:{state}") >= 2 for each in tried)


def _deletions(plan: RehearsalPlan, on: str) -> int:
    return sum((event.do, event.on) == ("delete", on) for event in plan.events)


def _applications(verdict: RehearsalVerdict, on: str) -> int:
    return sum("event: apply" in line and line.endswith(f"on {on}") for line in verdict.story)


@pytest.mark.parametrize("kind", Kind)
def test_quiet_plan_violates_nothing(kind: Kind) -> None:
    verdict = rehearse(plan_of(kind))
    assert verdict.violations == ()
    assert verdict.posts == 1
    assert any("-> Completed" in line for line in verdict.story)


# The oracles: each sees a planted violation

Plant = Callable[[pytest.MonkeyPatch], RehearsalPlan]


def _planted(
    patch: pytest.MonkeyPatch, on: str, action: Callable[[RehearsalWorld], None], plan: RehearsalPlan | None = None
) -> RehearsalPlan:
    """Plan that damages the world at a moment."""
    patch.setattr(Actions, "plant", lambda self, _who: action(self._world), raising=False)
    plan = plan or plan_of()
    return RehearsalPlan(0, "test", plan.subjects, (PlannedEvent("plant", 0.5, on),), takes=2.0)


def _posts_twice(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    once = Adapters.__getattr__

    def twice(self: Adapters, name: str) -> Any:
        call = once(self, name)

        async def ungated() -> None:
            """Second POST without compare-and-set."""

        async def both(*args: Any, **named: Any) -> Any:
            await call(*args, **named)
            return await call(args[0], ungated)

        return both if name == "submit" else call

    patch.setattr(Adapters, "__getattr__", twice)
    return plan_of()


def _one_id_for_all(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    def same(world: RehearsalWorld) -> None:
        world.database["ledger"].update_many({}, {"$set": {"requestId": "request-1"}})
        world.ledger_changed()

    return _planted(patch, "phase:Completed", same, RehearsalPlan(0, "test", TWO, ()))


def _another_answer(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    def swap(world: RehearsalWorld) -> None:
        for key, answer in list(world.bucket.objects.items()):
            if isinstance(answer, dict) and answer.get("made_by") == "request-1":
                dict.__setitem__(world.bucket.objects, key, answer | {"made_by": "request-2"})

    return _planted(patch, "state:succeeded", swap, RehearsalPlan(0, "test", TWO, ()))


def _another_input(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    accepted = ProviderWorld._accepted

    def other(self: ProviderWorld, post: Any, model: str) -> Any:
        made = accepted(self, post, model)
        made.input = made.input | {"steps": 7}
        return made

    patch.setattr(ProviderWorld, "_accepted", other)
    return plan_of(LORA)


def _file_missing(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    written = RehearsalWorld.status_written

    def loses(self: RehearsalWorld, ref: Any, before: Any, after: Any) -> None:
        if after["phase"] == "Completed":
            dict.pop(self.bucket.objects, after["versions"][0]["files"][0]["key"], None)
        written(self, ref, before, after)

    patch.setattr(RehearsalWorld, "status_written", loses)
    return plan_of()


def _file_deleted(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    def loses(world: RehearsalWorld) -> None:
        del world.bucket.objects[next(key for key in world.bucket.objects if key.endswith(".png"))]

    return _planted(patch, "phase:Completed", loses)


def forgotten(how: str) -> RehearsalPlan:
    """Training whose request is unknown for ten minutes, two hours after its sending; `unsuspend` changes nothing."""
    args = {} if how == "unsuspend" else {"seconds": 600.0}
    unknown = PlannedEvent(how, 7200.0, "state:submitted", args=args)
    later = PlannedEvent("restart", 20000.0, "state:submitted")  # the request has ended
    return replace(plan_of(LORA, unknown, later), takes=9000.0)


def _one_answer_ends_it(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    def ends(_purchase: Purchase, view: RequestView, _now: Any) -> bool:
        return view.state is RequestState.UNKNOWN and view.same_key

    patch.setattr(request_endings, "is_given_up", ends)
    return forgotten("forget")


def _foreign_key_ends_it(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    def ends(_purchase: Purchase, view: RequestView, _now: Any) -> bool:
        return view.state is RequestState.UNKNOWN and not view.same_key

    patch.setattr(request_endings, "is_given_up", ends)
    return forgotten("swap_key")


def _lost_response_is_not_read(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    async def nothing(*_: Any) -> dict[str, Any]:
        return {}

    patch.setattr(Observer, "_read_again", nothing)
    return plan_of(IMAGES, PlannedEvent("lose_response", 1.0, "state:succeeded"))


def test_lost_response_of_an_ended_run_is_fetched_as_advised() -> None:
    lost = PlannedEvent("lose_response", 0.0, "state:succeeded")
    collect = PlannedEvent("collect", 600.0, "state:succeeded")
    plan = replace(plan_of(Kind.TRANSCRIPTION, lost, collect), takes=400.0)
    verdict = rehearse(replace(plan, subjects=(replace(plan.subjects[0], options={"deadlineSeconds": 60}),)))
    assert (verdict.violations, verdict.posts) == ((), 1), _report(verdict)
    assert any("-> Completed" in line for line in verdict.story), _report(verdict)


def _edit_is_lost(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(planning, "_after_end", lambda _case, _status, again: again)
    plan = plan_of(LORA, PlannedEvent("edit", 1.0, "phase:Preparing", args={"variant": 1}))
    return replace(plan, subjects=(replace(plan.subjects[0], options={"dryRun": "Estimate"}),))


def _edit_of_a_cancelled_run_is_lost(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(planning, "_after_end", lambda _case, _status, again: again)
    on = "phase:Preparing"
    return plan_of(LORA, PlannedEvent("edit", 1.0, on, args={"variant": 1}), PlannedEvent("cancel", 1.0, on))


def _job_is_left(patch: pytest.MonkeyPatch, on: str = "") -> RehearsalPlan:
    async def nothing(*_: Any) -> dict[str, Any]:
        return {}

    patch.setattr(Observer, "_observe_left", nothing)
    return plan_of(LORA, PlannedEvent("preempt_at_outcome", 0.0, on))


def _waits_end_runs(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    """Deadlines of Jobs, and a decision that does not ask whether the worker was started."""

    def made(*given: Any, **more: Any) -> dict[str, Any]:
        manifest = job_manifest(*given, **more)
        manifest["spec"]["activeDeadlineSeconds"] = 600
        return manifest

    def ends(case: DecisionInput, stage: Stage, *_: Any) -> Plan:
        return planning.fail(case, Reason.DEADLINE_EXCEEDED, f"the {stage} stage ran out of time")

    patch.setattr(act, "job_manifest", made)
    patch.setattr(stages, "_deadline_exceeded", ends)
    return plan_of(LORA, PlannedEvent("no_node", args={"seconds": 2000.0}))


def _answer_deleted(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    def loses(world: RehearsalWorld) -> None:
        for key, answer in list(world.bucket.objects.items()):
            if isinstance(answer, dict):
                del world.bucket.objects[key]

    return _planted(patch, "state:succeeded", loses)


def _all_deleted(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    return _planted(patch, "phase:Completed", lambda world: dict.clear(world.bucket.objects))


def _nobody_searches(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    async def nothing(*_: Any) -> None:
        """Orphan search that does nothing."""

    patch.setattr(Orphans, "round", nothing)
    return _deleted_while_lost()


def _deleted_while_lost() -> RehearsalPlan:
    """Lost request that the history lists long after another purchase under the same name."""
    events = (
        PlannedEvent("delete", 5.0, "state:sending"),
        PlannedEvent("apply", 45.0, "state:sending", args={"variant": 1}),
    )
    return replace(plan_of(IMAGES, *events, replies={"1": "lost"}), takes=1800.0)


def _other_bill(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    bill = provider._micros
    patch.setattr(provider, "_micros", lambda request: 2 * bill(request))
    return plan_of()


def _other_bill_of_the_adopted(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    """Lost request of a deleted resource, which the next one adopts, gives up and pays for again."""
    bill = provider._micros
    patch.setattr(provider, "_micros", lambda request: bill(request) * (2 if request.id == "request-1" else 1))
    return _adopted_and_abandoned()


def _adopted_and_abandoned() -> RehearsalPlan:
    events = (
        PlannedEvent("delete", 1.0, "state:intent"),
        PlannedEvent("apply", 3600.0, "state:intent"),
        PlannedEvent("resubmit", 86400.0, "phase:SubmissionUnknown"),
    )
    return plan_of(IMAGES, *events, replies={"1": "lost"}, history={"lag": 108000.0})


def _no_pause(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    wake = RehearsalProcess.wake
    patch.setattr(RehearsalProcess, "wake", lambda self, ref, delay=0.0: wake(self, ref, min(delay, 0.1)))
    return RehearsalPlan(0, "test", (Subject("ns", IMAGES, "it"),), (), takes=600.0)


def _rewritten(patch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], None]) -> RehearsalPlan:
    """API server that stores another status than it got."""
    put = RehearsalCluster.put_status

    async def changed(self: RehearsalCluster, kind: Kind, namespace: str, name: str, body: dict[str, Any]) -> Any:
        body = copy.deepcopy(body)
        change(body["status"])
        return await put(self, kind, namespace, name, body)

    patch.setattr(RehearsalCluster, "put_status", changed)
    return plan_of()


def _backwards(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    def back(status: dict[str, Any]) -> None:
        if status["phase"] == "Collecting":
            status["phase"] = "Pending"

    return _rewritten(patch, back)


def _silent(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    return _rewritten(patch, lambda status: status.update(message=""))


def _forgets(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    wake = RehearsalProcess.wake

    def immediate_only(self: RehearsalProcess, ref: Any, delay: float = 0.0) -> None:
        if delay == 0:
            wake(self, ref)

    patch.setattr(RehearsalProcess, "wake", immediate_only)
    return plan_of()


def _pays_in_another_cluster(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(Actions, "plant", lambda self, _who: setattr(self._world, "confirmed", False), raising=False)
    return plan_of(IMAGES, PlannedEvent("plant", 0.0))


def _status_not_compared(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    changed = RehearsalCluster._changed

    def whatever_it_is(self: RehearsalCluster, kind: Kind, name: str, version: str) -> dict[str, Any]:
        there = self.resources.get((kind, name))
        return changed(self, kind, name, there["metadata"]["resourceVersion"] if there else version)

    patch.setattr(RehearsalCluster, "_changed", whatever_it_is)
    patch.setattr(FaultInjector, "_counts", lambda _, _fault, _acting, name: name == "kube.put_status")
    frozen = {"anchor": "any", "nth": 2, "side": "before", "action": "freeze", "seconds": 120.0}
    return plan_of(IMAGES, PlannedEvent("election"), PlannedEvent("io", args=frozen))


def _fails_when_collected(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    def failed(world: RehearsalWorld) -> None:
        world.database["ledger"].update_many({}, {"$set": {"state": "failed"}})
        world.ledger_changed()

    return _planted(patch, "phase:Completed", failed)


def _no_claim(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(payment, "purchase_fields", lambda _: {"bound_micros": 1})
    return plan_of(budget="10")


def _over_the_limit(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    async def granted(*_: Any) -> None:
        """Claim that is not compared with the limit."""

    patch.setattr(BudgetWindow, "has_room", lambda *_: True)
    patch.setattr(BudgetStore, "claim", granted)
    return plan_of(budget="0.05")


def _wrong_totals(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(Actions, "plant", lambda self, _: _add_to_budget(self._world), raising=False)
    return plan_of(IMAGES, PlannedEvent("plant", 0.5, "phase:Completed"), budget="10")


WAITS = "phase:AwaitingApproval"


def manual(*events: PlannedEvent, **options: Any) -> RehearsalPlan:
    """Plan of pictures that need an approval."""
    plan = plan_of(IMAGES, *events)
    given = {"approval": "Manual"} | options
    return replace(plan, subjects=(replace(plan.subjects[0], options=given),))


def _requirement_not_read(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(approval, "is_required", lambda _: False)
    return manual()


def _another_run_is_approved(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    given = approval.given_verdicts
    patch.setattr(approval, "_given", lambda case: given(case.resource.verdict_annotations))
    return manual(PlannedEvent("approve", 1.0, "phase:AwaitingApproval", args={"offset": 1}))


def repriced(*events: PlannedEvent) -> RehearsalPlan:
    """Plan whose price rises in the second in which a run is approved."""
    return manual(PlannedEvent("approve", 1.0, WAITS), *events, PlannedEvent("approve", DAY, WAITS))


RISE = PlannedEvent("reprice", 1.0, WAITS, args={"factor": 3.0, "seconds": 0.0})


def _any_price_is_approved(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(approval, "_covers", lambda *_: True)
    return repriced(RISE)


def _paid_dry_run(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(estimate, "end", lambda _: None)
    return manual(PlannedEvent("approve", 1.0, "phase:AwaitingApproval"), dryRun="Estimate")


def _no_hold(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(gate_order, "GATE", tuple(each for each in gate_order.GATE if each is not approval.hold))
    return manual()


def _approved_run_is_sent_twice(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    _posts_twice(patch)
    return manual(PlannedEvent("approve", 1.0, "phase:AwaitingApproval"))


def expiring(*events: PlannedEvent, **changes: Any) -> RehearsalPlan:
    """Plan of pictures whose resource is deleted a second after its end."""
    plan = plan_of(IMAGES, *events, **changes)
    options = {"ttlSecondsAfterFinished": 1, "deletionPolicy": "Delete"}
    return replace(plan, subjects=(replace(plan.subjects[0], options=options),))


def _expired_files_are_deleted(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(Actions, "plant", lambda self, _: dict.clear(self._world.bucket.objects), raising=False)
    return expiring(PlannedEvent("plant", 5.0, "phase:Completed"))


def _expired_record_is_deleted(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(Actions, "plant", lambda self, _: self._world.database["jobs"].delete_many({}), raising=False)
    return expiring(PlannedEvent("plant", 5.0, "phase:Completed"))


def _expired_at_once(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(expiry, "expires_at", lambda resource: resource.status.completion_time)
    return expiring()


def _cancelled() -> RehearsalPlan:
    """Plan whose run is cancelled and whose request is finished and billed nevertheless."""
    return replace(expiring(PlannedEvent("cancel", 1.0, "state:submitted"), cancels=False), takes=1800.0)


def _expired_with_an_open_request(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    def not_polled(case: DecisionInput) -> Plan:
        return Plan(status=case.resource.status, expire=expiry.is_due(case.resource, case.now), again_seconds=1.0)

    patch.setattr(decision, "plan_after_end", not_polled)
    return _cancelled()


def _expired_with_a_result(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(expiry, "obstacle", lambda _: "")
    return _cancelled()


def _never_expired(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(expiry, "with_expiry", lambda _, plan: plan)
    return expiring(PlannedEvent("restart", 3 * DAY, "phase:Completed"))


def _queue_not_told(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(stages, "_with_pod_problem", lambda _case, _stage, run_state: run_state)
    return plan_of(queue_seconds=900.0)


def _add_to_budget(world: RehearsalWorld) -> None:
    world.database["budgets"].update_many({}, {"$inc": {"held": 1}})


def _audit_adopts(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    audit = AccountAudit.audit

    async def adopts(self: AccountAudit, *given: Any) -> Any:
        report = await audit(self, *given)
        self._ledger._ledger.update_many({"state": "intent"}, {"$set": {"requestId": "request-1"}})
        return report

    patch.setattr(AccountAudit, "audit", adopts)
    return plan_of(IMAGES, PlannedEvent("audit", 60.0), replies={"1": "lost"}, history={"lag": DAY})


def _audit_without_ledger(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    async def nothing(*_: Any) -> Any:
        return ReadPurchases(entries=(), complete=True)

    async def none(*_: Any) -> Any:
        return frozenset()

    patch.setattr(AuditedLedger, "since", nothing)
    for word in ("of_requests", "of_correlation_keys", "bound_requests"):
        patch.setattr(AuditedLedger, word, none)
    return plan_of(IMAGES, PlannedEvent("audit", 7200.0))


def _audit_without_grace(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    limits = AuditLimits(grace=timedelta())
    patch.setattr(background, "AuditPlan", lambda: AuditPlan(limits=limits))
    return plan_of(IMAGES, PlannedEvent("audit", 600.0), replies={"1": "lost"}, history={"without_payload": [1]})


def _audit_of_lost_requests(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    """Nobody else searches for the request: its resource is deleted before it ends."""
    _nobody_searches(patch)
    patch.setattr(comparison, "_is_lost", lambda _: False)
    gone = PlannedEvent("delete", 5.0, "state:sending")
    return replace(plan_of(IMAGES, gone, PlannedEvent("audit", 9000.0), replies={"1": "lost"}), takes=1800.0)


def _marked_before_it_is_sent(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    put = NotificationOutbox.put

    async def marks(self: NotificationOutbox, entry: Any) -> Any:
        return await put(self, entry.model_copy(update={"state": NotificationState.DELIVERED}))

    patch.setattr(NotificationOutbox, "put", marks)
    args = {"anchor": "delivering", "nth": 2, "side": "before", "action": "crash"}
    return notified(PlannedEvent("io", args=args))


def _sent_before_its_status(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    plan = NotificationOutbox.plan
    data = {"uid": "00000003-0000-4000-8000-000000000000", "run": 1}
    payload = json.dumps({"type": "job.failed", "data": data})

    async def invent(self: NotificationOutbox, notifications: Any, now: Any) -> None:
        failed = {"id": "msg_f", "event": NotificationEvent.FAILED, "payload": payload}
        wrong = [notification.model_copy(update=failed) for notification in notifications]
        await plan(self, (*notifications, *wrong), now)
        await self.confirm(["msg_f"], now)

    patch.setattr(NotificationOutbox, "plan", invent)
    return notified()


def _another_id(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    signed, numbers = signed_headers, itertools.count()
    patch.setattr(notifier, "signed_headers", lambda identity, *given: signed(f"{identity}-{next(numbers)}", *given))
    return replace(notified(), hooks={"1": "lost"})


def _address_not_checked(patch: pytest.MonkeyPatch) -> RehearsalPlan:
    patch.setattr(guarded_post, "refusal", lambda _: "")
    return notified(url=PRIVATE)


PLANTED: dict[str, tuple[str, Plant]] = {
    "an audit that adopts what it finds": ("an audit changes nothing: ledger", _audit_adopts),
    "an audit that does not read the ledger": (
        "an audit knows the ledger's requests: UnknownRequest, the ledger has it",
        _audit_without_ledger,
    ),
    "one without grace for young requests": (
        "an audit knows the ledger's requests: UnknownRequest, it is younger than an hour",
        _audit_without_grace,
    ),
    "one that does not know lost requests": (
        "an audit knows the ledger's requests: UnknownRequest, its purchase waits for it",
        _audit_of_lost_requests,
    ),
    "a notification that is marked before it is sent": (
        "no notification is lost: Completed is not delivered",
        _marked_before_it_is_sent,
    ),
    "a notification that is sent before its status": (
        "no notification is invented: Failed",
        _sent_before_its_status,
    ),
    "an id that changes with each attempt": ("a webhook keeps its id", _another_id),
    "an address that is not checked": ("a webhook goes to public addresses only", _address_not_checked),
    "a purchase that fails after it was collected": (
        "purchases change as documented: collected to failed",
        _fails_when_collected,
    ),
    "a status that is not compared": ("a former leader changes nothing: resource", _status_not_compared),
    "two POSTs": ("one POST per purchase", _posts_twice),
    "a POST in a cluster that nobody confirmed": (
        "one POST per purchase: in a cluster that the ledger does not know",
        _pays_in_another_cluster,
    ),
    "one request id for two purchases": ("one owner per request: two namespaces", _one_id_for_all),
    "the answer of another request": ("the response matches the request: another request's", _another_answer),
    "files of another input": ("the response matches the request: steps", _another_input),
    "a file that was never there": ("files of a Completed resource: Completed", _file_missing),
    "a file that is deleted later": ("files of a Completed resource: a listed file is deleted", _file_deleted),
    "an answer that is deleted": ("a paid result is kept: it is deleted", _answer_deleted),
    "a result that nobody fetches": ("a paid result is kept: collected", _all_deleted),
    "a lost request that nobody searches for": (
        "a paid result is kept: without its request id in the ledger",
        _nobody_searches,
    ),
    "a purchase without a claim": ("a budget is not exceeded: a purchase without a claim", _no_claim),
    "a claim that is not compared with the limit": (
        "a budget is not exceeded: more than the limit",
        _over_the_limit,
    ),
    "totals that are changed": ("a budget is not exceeded: its totals are wrong", _wrong_totals),
    "a requirement that is not read": ("no payment without an approval: none is approved", _requirement_not_read),
    "an approval of another run that counts": (
        "no payment without an approval: none is approved",
        _another_run_is_approved,
    ),
    "an approval of any price": ("no payment without an approval: more than was approved", _any_price_is_approved),
    "a wait that is left out": ("no payment without an approval: none is approved", _no_hold),
    "a dry run that is paid": ("no payment without an approval: a dry run", _paid_dry_run),
    "an approved run that is sent twice": (
        "no payment without an approval: an approved run is sent twice",
        _approved_run_is_sent_twice,
    ),
    "files that are deleted with it": (
        "an expired resource leaves everything: its files are gone",
        _expired_files_are_deleted,
    ),
    "a resource that expires at once": (
        "an expired resource leaves everything: it is deleted before its time",
        _expired_at_once,
    ),
    "a record that is deleted with it": (
        "an expired resource leaves everything: its record is gone",
        _expired_record_is_deleted,
    ),
    "a resource that expires with a paid result": (
        "an expired resource leaves everything: a paid result is not collected",
        _expired_with_a_result,
    ),
    "a resource that expires before its request ends": (
        "an expired resource leaves everything: a request is open",
        _expired_with_an_open_request,
    ),
    "a resource that never expires": ("an expired resource is deleted: it stays", _never_expired),
    "a queue that is not told": ("a stopped resource has a reason: its Job is queued", _queue_not_told),
    "a request that one answer ends": ("a paid result is kept: succeeded in the ledger", _one_answer_ends_it),
    "a foreign key that ends a request": ("a paid result is kept: succeeded in the ledger", _foreign_key_ends_it),
    "a lost response that nobody reads again": (
        "a paid result is kept: succeeded in the ledger, OutputsDeleted",
        _lost_response_is_not_read,
    ),
    "an edit that nobody looks at": ("an edit starts the next run: Completed, Estimated", _edit_is_lost),
    "an edit of a cancelled run that nobody looks at": (
        "an edit starts the next run: Failed, Cancelled",
        _edit_of_a_cancelled_run_is_lost,
    ),
    "a Job that is left behind": ("a Job ends with its run: prepare is left", _job_is_left),
    "a collect Job that is left behind": (
        "a Job ends with its run: collect is left",
        lambda patch: _job_is_left(patch, "phase:Collecting"),
    ),
    "a wait for a node that ends its run": (
        "a Job ends with its run: a wait for a node ends its run",
        _waits_end_runs,
    ),
    "another bill": ("cost equals the bill", _other_bill),
    "another bill for an adopted attempt": ("cost equals the bill", _other_bill_of_the_adopted),
    "no pause": ("reconciled once a second at most", _no_pause),
    "a phase that goes back": ("phases move forward: Processing to Pending", _backwards),
    "no message": ("a stopped resource has a reason: Completed without a reason", _silent),
    "timers that are lost": ("a stopped resource has a reason: Processing and never looked at again", _forgets),
}


@pytest.mark.parametrize(("signature", "plant"), PLANTED.values(), ids=PLANTED)
def test_an_oracle_sees_a_planted_violation(signature: str, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = rehearse(plant(monkeypatch))
    assert [violation for violation in verdict.violations if violation.signature.startswith(signature)], _report(
        verdict
    )


def test_only_a_price_that_rises_shows_that_any_is_approved(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = rehearse(repriced(RISE))
    assert (verdict.violations, verdict.posts) == ((), 1), _report(verdict)
    plan = _any_price_is_approved(monkeypatch)
    assert [len(rehearse(each).violations) for each in (plan, repriced())] == [1, 0]


@pytest.mark.parametrize(("fault", "plant"), [("forget", _one_answer_ends_it), ("swap_key", _foreign_key_ends_it)])
def test_unknown_request_ends_only_by_its_fault(fault: str, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = {word: forgotten(word) for word in ("forget", "swap_key", "unsuspend")}
    assert [each_plan for each_plan, plan in plans.items() if rehearse(plan).violations] == []
    plant(monkeypatch)
    assert [each_plan for each_plan, plan in plans.items() if rehearse(plan).violations] == [fault]


@pytest.mark.parametrize(
    ("events", "posts"),
    [
        ((), 0),
        ((PlannedEvent("approve", 1.0, WAITS),), 1),
        ((PlannedEvent("reject", 1.0, WAITS), PlannedEvent("approve", 2.0, WAITS)), 0),
        ((PlannedEvent("approve", 1.0, WAITS, args={"offset": 1}),), 0),
        ((PlannedEvent("approve", 1.0, WAITS, args={"variant": 1}), PlannedEvent("approve", 60.0, WAITS)), 1),
        ((PlannedEvent("delete", 1.0, WAITS), PlannedEvent("apply", 20.0, WAITS, args={"approved": True})), 0),
    ],
)
def test_a_run_that_waits_is_paid_once_it_is_approved(events: tuple[PlannedEvent, ...], posts: int) -> None:
    verdict = rehearse(manual(*events))
    assert (verdict.violations, verdict.posts) == ((), posts), _report(verdict)


@pytest.mark.parametrize("action", ["crash", "error"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_approved_run_is_paid_once_despite_failures(side: str, action: str) -> None:
    """A call that fails before or after an I/O operation; a POST whose reply is lost is in the history."""
    approve, struck, points = PlannedEvent("approve", 1.0, WAITS), 0, range(0, DECIDING, 1 if ALL else 7)
    for nth in points:
        fault = {"anchor": "deciding", "nth": nth, "side": side, "action": action}
        verdict = rehearse(manual(approve, PlannedEvent("io", args=fault)))
        assert verdict.violations == (), _report(verdict)
        assert verdict.posts <= 1, _report(verdict)
        struck += verdict.fired
    assert struck >= len(points) - 1


def test_edited_waiting_run_needs_approval_of_its_new_number() -> None:
    """Approved in the moment of the edit, suspended, resumed, deleted and applied again: nothing of it counts."""
    edit = PlannedEvent("edit", 1.0, WAITS, args={"variant": 1})
    early, late = PlannedEvent("approve", 0.99, WAITS), PlannedEvent("approve", 1.01, WAITS)
    held = (
        PlannedEvent("suspend", 5.0, WAITS),
        PlannedEvent("approve", 6.0, WAITS),
        PlannedEvent("unsuspend", 9.0, WAITS),
    )
    again = (PlannedEvent("delete", 20.0, WAITS), PlannedEvent("apply", 30.0, WAITS))
    verdict = rehearse(manual(edit, late, *held, *again))
    assert (verdict.violations, verdict.posts) == ((), 0), _report(verdict)
    assert rehearse(manual(early)).posts == 1


@pytest.mark.parametrize("kind", Kind)
def test_expired_finished_run_is_adopted_despite_failures(kind: Kind) -> None:
    again, struck = PlannedEvent("apply", 60.0, "phase:Completed"), 0
    points = range(0, EXPIRING_POINTS, 1 if ALL else 11)
    for nth in points:
        fault = PlannedEvent("io", args={"anchor": "expiring", "nth": nth, "side": "before", "action": "crash"})
        plan = expiring(again, fault)
        verdict = rehearse(replace(plan, subjects=(replace(plan.subjects[0], kind=kind),)))
        assert (verdict.violations, verdict.posts) == ((), 1), _report(verdict)
        assert any("-> Completed/AdoptedFinishedRun" in line for line in verdict.story), _report(verdict)
        struck += verdict.fired
    assert struck >= len(points) * 9 // 10


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("on", ["state:submitted", "state:collected", "phase:Completed"])
def test_another_spelling_is_not_bought_again(kind: Kind, on: str) -> None:
    """An edit and its revert, and the spelling applied after a deletion, whatever was reached."""
    edit = PlannedEvent("edit", 1.0, on, args={"variant": RESPELLED})
    back = PlannedEvent("edit", 400.0, on, args={"variant": 0})
    again = (
        PlannedEvent("delete", 800.0, on),
        PlannedEvent("apply", 900.0, on, args={"variant": RESPELLED}),
    )
    verdict = rehearse(plan_of(kind, edit, back, *again))
    assert (verdict.violations, verdict.posts) == ((), 1), _report(verdict)
    assert any("-> Completed/AdoptedSameRequest" in line for line in verdict.story), _report(verdict)


@pytest.mark.parametrize("kind", Kind)
def test_jobs_held_past_their_deadline_finish_once_resumed(kind: Kind) -> None:
    again = [PlannedEvent("hold_jobs", 3.0, on, args={"seconds": 900.0}) for on in ("phase:Collecting", "")]
    verdict = rehearse(plan_of(kind, *again, queue_seconds=4000.0))
    assert (verdict.violations, verdict.posts) == ((), 1), _report(verdict)
    assert any("Collecting/Queued -> " in line for line in verdict.story), _report(verdict)
    assert any("-> Completed" in line for line in verdict.story), _report(verdict)


def test_orphan_of_an_earlier_spec_is_sought_until_stored() -> None:
    verdict = rehearse(_deleted_while_lost())
    assert (verdict.violations, verdict.posts) == ((), 2), _report(verdict)


def test_the_cost_of_an_adopted_attempt_is_its_new_owners() -> None:
    verdict = rehearse(_adopted_and_abandoned())
    assert (verdict.violations, verdict.posts) == ((), 2), _report(verdict)


def _violations_of(world: RehearsalWorld, old: Phase, new: Phase) -> int:
    """Number of violations caused by a status change between two phases."""
    ref = ref_of(IMAGES, world.body_of(0) or {})
    run = {"number": 1, "version": 1, "runHash": "h", "generation": 1, "spec": {}, "startedAt": world.now().isoformat()}
    before, after = ({"phase": each, "reason": "x", "message": "x", "run": run} for each in (old, new))
    world.oracles.violations.clear()
    world.oracles.status_written(ref, before, after)
    return len(world.oracles.violations)


@pytest.mark.parametrize(
    ("answer", "asked", "earlier"),
    [
        (ADOPT_ANNOTATION, Phase.SUBMISSION_UNKNOWN, Phase.SUBMITTING),
        (RESUBMIT_ANNOTATION, Phase.SUBMISSION_UNKNOWN, Phase.SUBMITTING),
        (COLLECT_ANNOTATION, Phase.FAILED, Phase.COLLECTING),
    ],
)
def test_an_answer_takes_a_phase_back_once(answer: str, asked: Phase, earlier: Phase) -> None:
    world = RehearsalWorld(plan_of())
    actions = Actions(world)
    actions.apply(0)
    assert _violations_of(world, asked, earlier) == 1
    actions._annotate(0, answer, "one")
    assert _violations_of(world, Phase.COMPLETED, earlier) == 1, "it answers another phase"
    assert _violations_of(world, asked, earlier) == 0
    assert _violations_of(world, asked, earlier) == 1
    actions._annotate(0, answer, "two")
    assert _violations_of(world, asked, earlier) == 0


def test_a_person_names_a_lost_request_and_collects_a_failed_run() -> None:
    unknown, failed = "phase:SubmissionUnknown", "phase:Failed"
    named = plan_of(
        IMAGES, PlannedEvent("adopt", 60.0, unknown), replies={"1": "lost"}, history={"without_payload": [1]}
    )
    shown = replace(named, history={"lag": 9000.0})
    assert [rehearse(each).violations for each in (named, shown)] == [(), ()]
    assert any("-> Completed" in line for line in rehearse(shown).story)
    killed = (
        PlannedEvent("jobs_fail", 0.0, "state:succeeded", args={"seconds": DAY + 60}),
        PlannedEvent("collect", 600.0, failed),
    )
    story = rehearse(plan_of(IMAGES, *killed)).story
    assert any("Failed/JobFailed -> Collecting" in line for line in story), story
    assert any("-> Completed" in line for line in story), story


def test_a_restore_of_mongodb_takes_a_phase_back_once() -> None:
    world = RehearsalWorld(plan_of())
    Actions(world).apply(0)
    collecting, processing = Phase.COLLECTING, Phase.PROCESSING
    world.snapshot()
    world.rewind(["bucket"])
    assert _violations_of(world, collecting, processing) == 1, "the ledger knows as much as before"
    world.rewind(["mongo"])
    assert _violations_of(world, collecting, processing) == 0
    assert _violations_of(world, collecting, processing) == 1


def test_two_operators_that_wake_each_other_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = replace(_no_pause(monkeypatch), events=(PlannedEvent("second", 1.0, args={"seconds": 500.0}),))
    found = [violation.signature for violation in rehearse(plan).violations]
    assert found == ["reconciled once a second at most: Processing, two operators"]


def _report(verdict: RehearsalVerdict) -> str:
    return "\n".join([*verdict.story, *(violation.signature for violation in verdict.violations)])


def test_a_plan_is_shrunk_to_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    _other_bill(monkeypatch)
    large = plan_of(
        IMAGES,
        PlannedEvent("suspend", 0.0),
        PlannedEvent("unsuspend", 20.0),
        PlannedEvent("evict", 3.0, "state:succeeded"),
        history={"noise": 10},
    )
    (violation,) = [
        each_violation
        for each_violation in rehearse(large).violations
        if each_violation.oracle == "cost equals the bill"
    ]
    small = shrink(large, violation.signature)
    assert (small.events, small.history) == ((), {})


# Notifications


def notified(*events: PlannedEvent, url: str = HOOK, **changes: Any) -> RehearsalPlan:
    plan = plan_of(IMAGES, *events, **changes)
    options = {"notify": [{"url": url}]}
    return replace(plan, subjects=(replace(plan.subjects[0], options=options),))


def test_a_lost_notification_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not rehearse(notified()).violations

    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(NotificationOutbox, "plan", nothing)
    assert {violation.oracle for violation in rehearse(notified()).violations} == {"no notification is lost"}


def test_an_invented_notification_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is completed, and its failure is told too."""
    verdict = rehearse(_sent_before_its_status(monkeypatch))
    assert {violation.signature for violation in verdict.violations} == {"no notification is invented: Failed"}


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_notification_reaches_its_receiver_whatever_fails(side: str) -> None:
    """A crash before or after an I/O operation of the delivery; the first reply is lost."""
    struck, points = 0, range(0, DELIVERING, 1 if ALL else 2)
    for nth in points:
        fault = PlannedEvent("io", args={"anchor": "delivering", "nth": nth, "side": side, "action": "crash"})
        verdict = rehearse(replace(notified(fault), hooks={"1": "lost"}))
        assert verdict.violations == (), _report(verdict)
        assert sum(": Completed of run 1 of " in line for line in verdict.story) >= 2, _report(verdict)
        struck += verdict.fired
    assert struck == len(points)


@pytest.mark.parametrize("reason", ["BudgetExceeded", "Queued", "ProviderNotConfigured"])
def test_a_run_that_waits_is_paid_once_whatever_fails(reason: str) -> None:
    """A crash before an I/O operation of its wait, or from the wait's end to the stored request id. One immediately
    before the POST leaves a request that may have been sent, which a person decides.
    """
    on, points, struck = f"reason:{reason}", range(0, WAITING_POINTS, 1 if ALL else 18), 0
    plan = {
        "BudgetExceeded": plan_of(
            IMAGES, PlannedEvent("raise_budget", 60.0, on, args={"dollars": "9"}), budget="0.001"
        ),
        "Queued": replace(plan_of(places=1), subjects=TWO[::-1], takes=60.0),
        "ProviderNotConfigured": plan_of(
            IMAGES,
            PlannedEvent("grant", args={"account": "unknown", "only": True}),
            PlannedEvent("grant", 60.0, on, args={"account": "team-a"}),
        ),
    }[reason]
    who = len(plan.subjects) - 1  # the first one takes the place
    for nth in points:
        for at in (0.0, 60.0):
            args = {"anchor": on, "nth": nth, "side": "before", "action": "crash"}
            verdict = rehearse(replace(plan, events=(*plan.events, PlannedEvent("io", at, on, who, args))))
            asked = any("-> SubmissionUnknown" in line for line in verdict.story)
            assert (verdict.violations, verdict.posts + asked) == ((), len(plan.subjects)), _report(verdict)
            assert any(f"/{reason}" in line for line in verdict.story)
            struck += verdict.fired
    assert struck > len(points)


# Audits


def test_an_audit_that_finds_an_unknown_request_changes_nothing() -> None:
    """The reply is lost, and the history does not show the request's input."""
    away = {"replies": {"1": "lost"}, "history": {"without_payload": [1]}}
    verdict = rehearse(plan_of(IMAGES, PlannedEvent("audit", 7200.0), **away))
    assert any("audit: {'UnknownRequest': 1}" in line for line in verdict.story), _report(verdict)
    assert (verdict.violations, verdict.posts) == ((), 1), _report(verdict)


@pytest.mark.parametrize("action", ["crash", "error"])
def test_an_audit_that_fails_is_repeated(action: str) -> None:
    struck, points = 0, range(0, AUDITING, 1 if ALL else 4)
    for nth in points:
        fault = {"anchor": "auditing", "nth": nth, "side": "before", "action": action}
        verdict = rehearse(plan_of(IMAGES, PlannedEvent("audit", 7200.0), PlannedEvent("io", args=fault)))
        assert (verdict.violations, verdict.posts) == ((), 1), _report(verdict)
        assert any("audit: no findings" in line for line in verdict.story), _report(verdict)
        struck += verdict.fired
    assert struck == len(points)
