"""Generator of plans from seeds: one of the groups below, sometimes with random user actions.

Groups that cover combinations take them in turn (`_number`) and choose the rest at random.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

from contentgen_contract.names import Kind
from contentgen_simulation.rehearsal.world.plan import (
    HOOK,
    PRIVATE,
    REBOUND,
    RESPELLED,
    PlannedEvent,
    RehearsalPlan,
    Subject,
)

HOUR, DAY = 3600.0, 86400.0
STATES = ("intent", "submitted", "succeeded", "collected", "failed", "refused", "cancelled")
SEND_STATES = ("planned", "sending", "abandoned")  # of an intent
PHASES = ("Preparing", "Submitting", "Processing", "Collecting", "Completed", "Failed", "SubmissionUnknown")
STORES = ("mongo", "storage", "kube")
POLICIES = ("Retain", "Delete")
REWOUND = (("mongo",), ("etcd",), ("bucket",), ("mongo", "etcd"), ("mongo", "bucket"), ("etcd", "bucket"))
FATES = (
    "301", "302", "303", "307", "308", "404", "410", "403", "503", "expired", "partial", "oversized", "fewer", "fails",
    "files-gone", "files-expire",
)  # fmt: skip
FORGOTTEN = 1 / 6  # share of the plans in which fal does not know a request for a while, or a response is lost
AUDITED = 1 / 6  # share of the plans with an audit of the accounts
MOST_NOISE = 150  # requests of other people in the history of such a plan: an audit reads all
EXPIRING = 0.15  # share of the plans with `ttlSecondsAfterFinished`
LINES = 124  # between two faults of one plan; a plan has LINE_FAULTS of them
LINE_FAULTS = 12
DECIDING = 76  # I/O operations from an approval to the stored request id
WAITING_POINTS = 90  # I/O operations from the begin of a wait, or its end, to the stored request id
DELIVERING = 10  # I/O operations of a delivery, from its reservation on
AUDITING = 20  # I/O operations of an audit
EXPIRING_POINTS = 110  # I/O operations from the end of `ttlSecondsAfterFinished` to the adoption by the next resource
Draft = Callable[[Random, RehearsalPlan], RehearsalPlan]
GROUPS: dict[str, Draft] = {}
TURNS: list[str] = []  # names of groups, in the order in which the seeds take them
POLICY_SEED = 1_000_000  # first seed of the groups of policies, whose number moves no other group's seeds
POLICY_TURNS: list[str] = []  # their names, in the order in which the seeds from POLICY_SEED on take them
RESTORE_SEED = 2_000_000  # first seed of the groups of restored stores
RESTORE_TURNS: list[str] = []  # their names, likewise
_EXACT: set[str] = set()  # groups without people and their moments: each plan has its place among the combinations


def group(draft: Draft) -> Draft:
    """Decorator that registers a group of plans."""
    return _entered(draft, 1)


def often(turns: int, *, exact: bool = False) -> Callable[[Draft], Draft]:
    """Decorator that registers a group several times."""
    return lambda draft: _entered(draft, turns, exact=exact)


def of_policy(turns: int) -> Callable[[Draft], Draft]:
    """Decorator that registers a group of the policies' plans."""

    def entered(draft: Draft) -> Draft:
        GROUPS[draft.__name__] = draft
        POLICY_TURNS.extend([draft.__name__] * turns)
        return draft

    return entered


def of_restores(turns: int) -> Callable[[Draft], Draft]:
    """Decorator that registers a group of plans with restored stores. Each has its place among the combinations."""

    def entered(draft: Draft) -> Draft:
        GROUPS[draft.__name__] = draft
        RESTORE_TURNS.extend([draft.__name__] * turns)
        _EXACT.add(draft.__name__)
        return draft

    return entered


def turn_of(seed: int) -> tuple[list[str], int]:
    """Groups that take the seed in turn, and the seed's number among theirs."""
    if seed >= RESTORE_SEED:
        return RESTORE_TURNS, seed - RESTORE_SEED
    return (POLICY_TURNS, seed - POLICY_SEED) if seed >= POLICY_SEED else (TURNS, seed)


def _entered(draft: Draft, turns: int, *, exact: bool = False) -> Draft:
    GROUPS[draft.__name__] = draft
    TURNS.extend([draft.__name__] * turns)
    if exact:
        _EXACT.add(draft.__name__)
    return draft


def _number(plan: RehearsalPlan) -> int:
    """Number of this group's plans with smaller seeds."""
    turns, number = turn_of(plan.seed)
    rounds, turn = divmod(number, len(turns))
    return rounds * turns.count(plan.group) + turns[:turn].count(plan.group)


def generate(seed: int) -> RehearsalPlan:
    """Plan of a seed; groups alternate."""
    random = Random(seed)  # noqa: S311 - a plan is no secret
    turns, number = turn_of(seed)
    name = turns[number % len(turns)]
    kind = random.choice(list(Kind))
    options: dict[str, Any] = {}
    if random.random() < 0.3:
        options["paidAttempts"] = random.choice((2, 3))
    if random.random() < 0.3:
        options["deletionPolicy"] = "Delete"
    takes = random.choice((2.0, 6.0, 6.0, 60.0, 1800.0, 9000.0))
    plan = RehearsalPlan(
        seed, name, (Subject("ns", kind, "it", 0, options),), (), takes=takes, cancels=random.random() < 0.7
    )
    plan = _notified(GROUPS[name](random, plan))
    if name in _EXACT:
        return plan
    if random.random() < 0.35:
        plan = _with(plan, *_people(random, random.randint(1, 3)))
    plan = _with(plan, *_advice(random, plan), *_repairs(plan), *_election(plan))
    return _forgotten(_audited(_expiring(_budgeted(plan))))


def _notified(plan: RehearsalPlan) -> RehearsalPlan:
    """A webhook in one of three plans. Separate random numbers keep the rest of each seed's plan stable."""
    random = Random(f"notify of {plan.seed}")  # noqa: S311 - a plan is no secret
    if random.random() < 2 / 3 or plan.hooks:
        return plan
    return _with_options(plan, notify=[{"url": HOOK}])


def _with_options(plan: RehearsalPlan, **options: Any) -> RehearsalPlan:
    return replace(
        plan, subjects=tuple(replace(subject, options=subject.options | options) for subject in plan.subjects)
    )


def _with(plan: RehearsalPlan, *events: PlannedEvent) -> RehearsalPlan:
    return replace(plan, events=(*plan.events, *events))


def _moment(random: Random) -> str:
    """A purchase state or a phase of the subject."""
    states, phases = [f"state:{state}" for state in STATES], [f"phase:{phase}" for phase in PHASES]
    return random.choice([*states, *phases, "state:submitted", "state:succeeded", "state:collected"])


def _after(random: Random) -> float:
    return random.choice((0.0, 0.0, 0.02, 1.0, 5.0, 30.0, 400.0, 2 * HOUR))


def _people(random: Random, count: int) -> list[PlannedEvent]:
    """Edits, deletions, re-applications, suspensions and annotations at random times."""
    made: list[PlannedEvent] = []
    for number in range(count):
        on, at = random.choice(("", _moment(random))), random.choice((0.0, 3.0, 15.0, 60.0, HOUR, DAY))
        match random.choice(("edit", "edit", "delete", "suspend", "cancel", "rerun", "back")):
            case "edit":
                variant = random.choice((1, 2))
                made.append(PlannedEvent("edit", at, on, args={"variant": RESPELLED if number == 1 else variant}))
            case "back":
                made.append(PlannedEvent("edit", at, on, args={"variant": 1}))
                made.append(PlannedEvent("edit", at + random.choice((1.0, 20.0, 200.0)), on, args={"variant": 0}))
            case "delete":
                made.append(PlannedEvent("delete", at, on))
                made.append(PlannedEvent("apply", at + random.choice((1.0, 40.0, HOUR)), on))
            case "suspend":
                made.append(PlannedEvent("suspend", at, on))
                made.append(PlannedEvent("unsuspend", at + random.choice((10.0, HOUR)), on))
            case "cancel":
                made.append(PlannedEvent("cancel", at, on))
            case _:
                made.append(PlannedEvent("rerun", at, on, args={"token": f"once more {number}"}))
    return made


def _advice(random: Random, plan: RehearsalPlan) -> list[PlannedEvent]:
    """For some plans, a user who follows the advice of SubmissionUnknown."""
    if random.random() < 0.4:
        return []
    return [
        PlannedEvent("resubmit", random.choice((60.0, HOUR, DAY)), "phase:SubmissionUnknown", number)
        for number in range(len(plan.subjects))
    ]


def _repairs(plan: RehearsalPlan) -> list[PlannedEvent]:
    """For some plans, a user who adopts a lost request or collects a failed run again.

    Separate random numbers keep the rest of each seed's plan stable.
    """
    random = Random(f"repairs of {plan.seed}")  # noqa: S311 - a plan is no secret
    made: list[PlannedEvent] = []
    for who in range(len(plan.subjects)):
        if random.random() < 0.3:
            made.append(PlannedEvent("adopt", random.choice((60.0, HOUR, 3 * HOUR)), "phase:SubmissionUnknown", who))
        if random.random() < 0.3:
            made.append(PlannedEvent("collect", random.choice((1.0, 60.0, HOUR)), "phase:Failed", who))
    return made


def _election(plan: RehearsalPlan) -> list[PlannedEvent]:
    """A Lease in two of three plans with several processes: in the others the ledger alone must prevent conflicts.

    Separate random numbers, as for the repairs.
    """
    several = any(event.do == "second" or event.args.get("action") == "freeze" for event in plan.events)
    random = Random(f"election of {plan.seed}")  # noqa: S311 - a plan is no secret
    return [PlannedEvent("election")] if several and random.random() < 2 / 3 else []


def _expiring(plan: RehearsalPlan) -> RehearsalPlan:
    """Finished resources that are deleted after a time, and applied again, in some plans.

    Separate random numbers, as for the repairs.
    """
    random = Random(f"expiry of {plan.seed}")  # noqa: S311 - a plan is no secret
    if random.random() >= EXPIRING:
        return plan
    made: list[PlannedEvent] = []
    subjects: list[Subject] = []
    for who, subject in enumerate(plan.subjects):
        ttl = random.choice((0, 0, 30, int(HOUR)))
        subjects.append(replace(subject, options=subject.options | {"ttlSecondsAfterFinished": ttl}))
        at = ttl + random.choice((0.0, 0.02, 1.0, HOUR))
        made += [PlannedEvent("apply", at, on, who) for on in ("phase:Completed", "phase:Failed")]
        if random.random() < 0.3:
            made.append(PlannedEvent("delete", max(ttl - random.choice((0.0, 0.01)), 0), "phase:Completed", who))
    return _with(replace(plan, subjects=tuple(subjects)), *made)


def _budgeted(plan: RehearsalPlan) -> RehearsalPlan:
    """A budget in a third of the plans, which is raised later: at first it has room for one training of 1,000 steps.

    Separate random numbers, as for the repairs.
    """
    random = Random(f"budget of {plan.seed}")  # noqa: S311 - a plan is no secret
    if random.random() >= 1 / 3:
        return plan
    raised = PlannedEvent("raise_budget", random.choice((60.0, HOUR, DAY)), args={"dollars": "1000"})
    return replace(plan, budget=random.choice(("0.05", "2.05", "2.10")), events=(raised, *plan.events))


def _audited(plan: RehearsalPlan) -> RehearsalPlan:
    """Audits in some plans: one that a person asks for, and the daily ones.

    Separate random numbers, as for the repairs.
    """
    random = Random(f"audit of {plan.seed}")  # noqa: S311 - a plan is no secret
    if random.random() >= AUDITED or plan.history.get("noise", 0) > MOST_NOISE:
        return plan
    return replace(plan, events=(PlannedEvent("audit", random.choice((30.0, 2 * HOUR, 5 * HOUR))), *plan.events))


def _forgotten(plan: RehearsalPlan) -> RehearsalPlan:
    """A request that fal does not know for a while, or not by a foreign key, or a response that is lost, in some plans.

    Separate random numbers, as for the repairs.
    """
    random = Random(f"unknown of {plan.seed}")  # noqa: S311 - a plan is no secret
    if random.random() >= FORGOTTEN or len(plan.subjects) > 1:  # identical inputs cannot be told apart for long
        return plan
    if random.random() < 1 / 3:
        on = random.choice(("state:succeeded", "state:succeeded", "state:collected"))
        lost = PlannedEvent("lose_response", random.choice((0.0, 0.02, 1.0)), on)
        return replace(plan, events=(lost, *plan.events))
    at = random.choice((0.0, 30.0, 2 * HOUR, 2 * HOUR))
    args = {"seconds": random.choice((60.0, HOUR, 7 * HOUR, 30 * HOUR))}
    unknown = PlannedEvent(random.choice(("forget", "swap_key")), at, "state:submitted", args=args)
    later = PlannedEvent("restart", at + args["seconds"] + 9000.0, "state:submitted")  # the request has ended
    return replace(plan, events=(unknown, later, *plan.events), takes=9000.0)


def _lost(random: Random, plan: RehearsalPlan, count: int = 1) -> RehearsalPlan:
    """Lost responses: most requests arrived, some did not."""
    how = {str(number): random.choice(("lost", "lost", "lost", "dropped")) for number in range(1, count + 1)}
    return replace(plan, replies=plan.replies | how)


UIDS = tuple(product((*STATES[1:], *SEND_STATES, "discarded"), POLICIES, POLICIES, ("", *STORES)))
"""Purchase state, policies of the first and second uid, and the store that is unavailable at the deletion."""


@often(2)
def three_uids(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """Three successive uids × Retain or Delete × every purchase state × each store unavailable."""
    state, first, second, store = UIDS[_number(plan) * 7 % len(UIDS)]  # 7: a sample has all states
    options = plan.subjects[0].options | {"deletionPolicy": "Delete" if state == "discarded" else first}
    plan = replace(plan, subjects=(replace(plan.subjects[0], options=options),))
    plan = _towards(random, plan, state)
    on, at = f"state:{state}", 0.0 if state == "planned" else _after(random)
    made: list[PlannedEvent] = []
    for policy in (second, random.choice(POLICIES)):
        if store:
            args: dict[str, Any] = {"store": store, "seconds": random.choice((10.0, 40.0, 60.0, 400.0))}
            made.append(PlannedEvent("unavailable", max(at - 1, 0), on, args=args))
        made.append(PlannedEvent("delete", at, on))
        gap = random.choice((0.5, 5.0, 40.0, HOUR))
        args = {"policy": policy} | ({"variant": random.choice((0, 1))} if random.random() < 0.3 else {})
        made.append(PlannedEvent("apply", at + gap, on, args=args))
        at += gap + _after(random)
    return _with(plan, *made)


def _towards(random: Random, plan: RehearsalPlan, state: str) -> RehearsalPlan:
    """Plan with events that bring a purchase into this state."""
    match state:
        case "failed":
            return replace(plan, results={"1": "fails"})
        case "refused":
            # "unreachable" breaks off after the connection is open, and counts as a lost reply.
            return replace(plan, replies={"1": random.choice(("403", "422", "429", "422"))})
        case "sending" | "intent":
            return replace(plan, replies={"1": random.choice(("lost", "lost", "dropped"))})
        case "abandoned":
            plan = replace(plan, replies={"1": random.choice(("lost", "dropped"))}, history={"missing": [1]})
            return _with(plan, PlannedEvent("resubmit", 60.0, "phase:SubmissionUnknown"))
        case "cancelled":
            kind = random.choice((Kind.IMAGE_GENERATION, Kind.LORA_TRAINING))  # AssemblyAI ends no request
            plan = replace(plan, subjects=(replace(plan.subjects[0], kind=kind),), takes=1800.0, cancels=True)
            return _with(plan, PlannedEvent("cancel", 1.0, "state:submitted"))
        case "discarded":
            return _with(
                plan, PlannedEvent("delete", 0.5, "state:collected"), PlannedEvent("apply", 60.0, "state:collected")
            )
        case _:
            return plan


@group
def identical_inputs(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """Resources with the same input in one or two namespaces, with lost responses."""
    kind = random.choice((Kind.IMAGE_GENERATION, Kind.IMAGE_GENERATION, plan.subjects[0].kind))
    count = random.choice((2, 2, 3))
    namespaces = random.choice((("ns", "ns", "ns"), ("ns", "other", "third")))
    subjects = []
    for number in range(count):
        options: dict[str, Any] = {"seed": 7} if kind is Kind.IMAGE_GENERATION else {}
        if options and random.random() < 0.4:
            options["count"] = random.choice((1, 2, 3))
        name = "it" if namespaces[1] != "ns" and random.random() < 0.5 else f"it-{number}"
        subjects.append(Subject(namespaces[number], kind, name, 0, options))
    return _lost(random, replace(plan, subjects=tuple(subjects)), count)


@group
def results(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """Results that are deleted, moved, expired, truncated, too large or too few."""
    given = {"1": FATES[_number(plan) % len(FATES)]}
    if random.random() < 0.3:
        given["2"] = random.choice(FATES)
    options = plan.subjects[0].options | ({"paidAttempts": 2} if random.random() < 0.5 else {})
    plan = replace(plan, results=given, subjects=(replace(plan.subjects[0], options=options),))
    if "expired" in given.values() or random.random() < 0.2:
        seconds = random.choice((400.0, 2 * HOUR))
        plan = _with(
            plan, PlannedEvent("provider_down", 1, "state:submitted", args={"how": "unreachable", "seconds": seconds})
        )
    if random.random() < 0.4:
        args = {"variant": plan.subjects[0].variant}
        plan = _with(
            plan, PlannedEvent("delete", 30, "phase:Failed"), PlannedEvent("apply", 80, "phase:Failed", args=args)
        )
    return plan


@group
def history(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """A lost response, and a history that is long, late, incomplete, or searched two days later."""
    given: dict[str, Any] = {}
    what = ("long", "late", "incomplete", "old")[_number(plan) % 4]
    if what == "long" or random.random() < 0.3:
        given["noise"] = 1000 if what == "long" else random.choice((50, 150))
    if what == "late" or random.random() < 0.2:
        given["lag"] = random.choice((60.0, 3 * HOUR, 30 * HOUR))
    if what == "incomplete":
        given[random.choice(("missing", "without_payload"))] = [1]
    plan = replace(_lost(random, plan), history=given)
    if what == "old" or random.random() < 0.2:
        store, seconds = random.choice((("kube", 26 * HOUR), ("mongo", 2 * DAY), ("kube", 2 * DAY)))
        plan = _with(plan, PlannedEvent("unavailable", 0.1, "state:intent", args={"store": store, "seconds": seconds}))
    if random.random() < 0.2:
        plan = _with(
            plan,
            PlannedEvent("delete", random.choice((1.0, 600.0)), "state:intent"),
            PlannedEvent("apply", HOUR, "state:intent"),
        )
    if random.random() < 0.3:
        options = plan.subjects[0].options | {"deadlineSeconds": random.choice((60, 900, 3600))}
        plan = replace(plan, subjects=(replace(plan.subjects[0], options=options),))
    return plan


@group
def rewound(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """MongoDB, etcd and the bucket restored alone and in pairs, in each phase, to any moment before."""
    number = _number(plan)
    stores, phase = REWOUND[number % len(REWOUND)], PHASES[number // len(REWOUND) % len(PHASES)]
    plan = _in_phase(random, plan, phase)
    taken = random.choice(
        (PlannedEvent("snapshot", 0.03), PlannedEvent("snapshot", 3.0), PlannedEvent("snapshot", 0, _moment(random)))
    )
    at = random.choice((0.0, 0.02, 2.0, 60.0, HOUR))
    restored = PlannedEvent("rewind", at, random.choice((f"phase:{phase}", f"phase:{phase}", _moment(random))))
    plan = _with(plan, taken, replace(restored, args={"stores": list(stores)}))
    if random.random() < 0.4:
        plan = _lost(random, plan)
    return plan


def _in_phase(random: Random, plan: RehearsalPlan, phase: str) -> RehearsalPlan:
    """Plan with events that bring a resource into this phase."""
    match phase:
        case "Preparing" if plan.subjects[0].kind is Kind.IMAGE_GENERATION:
            kind = random.choice((Kind.LORA_TRAINING, Kind.TRANSCRIPTION))
            return replace(plan, subjects=(replace(plan.subjects[0], kind=kind),))
        case "Failed":
            return _towards(random, plan, "failed")
        case "SubmissionUnknown":
            return replace(plan, replies={"1": random.choice(("lost", "dropped"))}, history={"lag": 9 * DAY})
        case _:
            return plan


RESTORED = (*REWOUND, ("mongo", "etcd", "bucket"))
AFTERWARDS = ("nothing", "re-apply", "gone", "edit")
RESTORES = tuple(
    (state, stores, after, merged)
    for state, stores, after in product((*STATES[1:], *SEND_STATES, "discarded"), RESTORED, AFTERWARDS)
    for merged in ((False, True) if "mongo" in stores else (False,))
)
"""State of the purchase in the backup, restored stores, what follows, and whether `contentgen restore` of a later
backup is run before the operator starts.
"""
LEDGER_POINTS = 40  # operations of the ledger until a purchase is collected
RESTORED_AT = 3 * HOUR  # when each purchase has reached its last state


@of_restores(5)
def restored(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """Stores restored to each state of a purchase; the resource untouched, applied again, or edited and reverted."""
    state, stores, after, merged = RESTORES[_number(plan) * 13 % len(RESTORES)]  # 13: a sample has all states
    plan = _towards(random, replace(plan, takes=random.choice((2.0, 60.0))), state)
    # A person's deletion of the files is not undone with the ledger.
    plan = _with_options(plan, deletionPolicy="Delete" if state == "discarded" else "Retain")
    plan = _with(plan, PlannedEvent("snapshot", 0.0, f"state:{state}"))
    plan = _with(plan, *_rewound_at(RESTORED_AT, stores, merged=merged))
    return _with(plan, *_afterwards(random, RESTORED_AT, after))


def _rewound_at(at: float, stores: tuple[str, ...], *, merged: bool) -> list[PlannedEvent]:
    made = [PlannedEvent("rewind", at, args={"stores": list(stores)})]
    if merged:
        made += [PlannedEvent("back_up", at - 100.0), PlannedEvent("restore", at + 1.0)]
    return made


def _afterwards(random: Random, at: float, what: str) -> list[PlannedEvent]:
    later = at + random.choice((30.0, 60.0, HOUR))
    match what:
        case "re-apply":
            return [PlannedEvent("delete", later), PlannedEvent("apply", later + 60.0)]
        case "gone":
            return [PlannedEvent("delete", at - 30.0), PlannedEvent("apply", later)]
        case "edit":
            edits = ((later, 1), (later + random.choice((0.5, 60.0, 600.0)), 0))
            return [PlannedEvent("edit", when, args={"variant": variant}) for when, variant in edits]
        case _:
            return []


LOST = tuple(product(("marker", "send", "end"), (*SEND_STATES, "refused", "submitted", "collected"), (False, True)))
"""Lost object, state of the purchase at that moment, and whether MongoDB is restored to that moment later."""


@of_restores(1)
def lost_object(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """A single object of a purchase lost in the bucket; MongoDB restored where that object is not the only proof."""
    what, state, rewinds = LOST[_number(plan) * 7 % len(LOST)]
    plan = _with_options(replace(plan, takes=random.choice((2.0, 60.0))), deletionPolicy="Retain")
    plan = _towards(random, plan, state)
    plan = _with(plan, PlannedEvent("lose", random.choice((0.0, 60.0)), f"state:{state}", args={"what": what}))
    if rewinds and what != "send":
        plan = _with(plan, PlannedEvent("snapshot", 0.0, f"state:{state}"))
        plan = _with(plan, *_rewound_at(RESTORED_AT, ("mongo",), merged=False))
    return _with(plan, *_afterwards(random, RESTORED_AT, random.choice(AFTERWARDS)))


@of_restores(1)
def interleaved(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """Another process that works on the resource between two operations of a ledger method."""
    state = random.choice((*SEND_STATES, "refused", "refused", "submitted", "collected", "failed"))
    plan = _towards(random, replace(plan, takes=random.choice((2.0, 60.0))), state)
    if random.random() < 0.3:
        later = RESTORED_AT + random.choice((0.0, 60.0))
        plan = _with(plan, *_afterwards(random, later, random.choice(AFTERWARDS[1:])))
    struck = {"anchor": "ledger", "nth": _number(plan) * 7 % LEDGER_POINTS, "action": "meanwhile"}
    return _with(plan, PlannedEvent("io", args=struck | {"side": random.choice(("before", "after"))}))


@group
def rebuilt_cluster(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """A new cluster with the old stores and all resources applied; an administrator may confirm it."""
    moment = random.choice(("state:planned", _moment(random), _moment(random)))
    plan = _with(plan, PlannedEvent("rebuild", _after(random) if moment != "state:planned" else 0.0, moment))
    if random.random() < 0.7:
        plan = _with(plan, PlannedEvent("confirm", random.choice((70.0, 600.0, DAY)), moment))
    return _lost(random, plan) if random.random() < 0.3 else plan


@group
def recreated_namespace(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """A namespace that is deleted and created again."""
    plan = _with(plan, PlannedEvent("recreate_namespace", _after(random), _moment(random)))
    return _lost(random, plan) if random.random() < 0.3 else plan


@group
def provider_accounts(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """A namespace with a provider account, whose label changes or whose account is removed at some moment, with a lost
    reply, a crash, or a resource that is deleted and applied again.
    """
    plan = _with(plan, PlannedEvent("grant", 0.0, args={"account": "team-a", "only": True}))
    moment = random.choice(("state:planned", "state:sending", _moment(random), _moment(random)))
    at = 0.0 if moment == "state:planned" else _after(random)
    match ("label", "unknown", "removed", "label")[_number(plan) % 4]:
        case "label":
            plan = _with(plan, PlannedEvent("grant", at, moment, args={"account": random.choice(("team-b", ""))}))
        case "unknown":
            back = PlannedEvent("grant", at + random.choice((60.0, HOUR)), moment, args={"account": "team-b"})
            plan = _with(plan, PlannedEvent("grant", at, moment, args={"account": "unknown"}), back)
        case _:
            args: dict[str, Any] = {"account": "team-a", "seconds": random.choice((60.0, HOUR, 3 * HOUR))}
            plan = _with(plan, PlannedEvent("remove_account", at, moment, args=args))
    if random.random() < 0.4:
        plan = _lost(random, plan)
    if random.random() < 0.4:
        args = {"anchor": random.choice(("paying", "any")), "nth": random.randrange(16),
                "side": random.choice(("before", "after")), "action": "crash"}  # fmt: skip
        plan = _with(plan, PlannedEvent("io", args=args))
    if random.random() < 0.4:
        gone = PlannedEvent("delete", at + random.choice((1.0, 60.0)), moment)
        plan = _with(plan, gone, replace(gone, do="apply", at=gone.at + random.choice((5.0, HOUR))))
    return plan


@group
def points(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """An exception or a crash at one or two points between the ledger's insert and the stored request id."""
    plan = replace(plan, takes=6.0)
    for _ in range(random.choice((1, 1, 2))):
        args: dict[str, Any] = {
            "anchor": random.choice(("paying", "paying", "paying", "any")),
            "nth": random.randrange(16),
            "side": random.choice(("before", "after")),
            "action": random.choice(("crash", "error")),
        }
        if args["anchor"] == "any":
            args["nth"] = random.randrange(200)
        plan = _with(plan, PlannedEvent("io", args=args))
    return plan


@often(7, exact=True)
def lines(_: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """A crash, or an exception, at each line from the planned purchase to its request id; a third has a budget."""
    number, kinds = _number(plan), tuple(Kind)
    kind, action = kinds[number % len(kinds)], ("crash", "error")[number // len(kinds) % 2]
    first = number // (2 * len(kinds)) % LINES
    nths = [first + LINES * each_number for each_number in range(LINE_FAULTS)]
    plan = replace(plan, subjects=(Subject("ns", kind, "it"),), takes=6.0, budget="1000" if first % 3 == 0 else "")
    return _with(plan, *(PlannedEvent("line", args={"nth": nth, "action": action}) for nth in nths))


@group
def frozen(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """A process frozen at a point while a second one continues, and resumed later."""
    args = {
        "anchor": random.choice(("paying", "paying", "any", "POST")), "nth": random.randrange(14),
        "side": random.choice(("before", "after")), "action": "freeze",
        "seconds": random.choice((10.0, 120.0, 3 * HOUR)),
    }  # fmt: skip
    if args["anchor"] == "any":
        args["nth"] = random.randrange(150)
    if args["anchor"] == "POST":
        args["nth"] = 0
    plan = _with(plan, PlannedEvent("io", args=args))
    if random.random() < 0.5:
        plan = _with(plan, PlannedEvent("resubmit", random.choice((1.0, 60.0)), "phase:SubmissionUnknown"))
    return plan


@group
def terminated(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """SIGTERM during the POST or another call."""
    number = _number(plan)
    anchor, nth = (("POST", 0), ("paying", number // 2 % 16))[number % 2]
    args = {
        "anchor": anchor, "nth": nth, "side": ("before", "after")[number // 2 % 2], "action": "sigterm",
        "seconds": random.choice((5.0, 25.0, 60.0)),
    }  # fmt: skip
    return _with(plan, PlannedEvent("io", args=args))


@group
def clocks(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """The operator's clock is a day off, temporarily or permanently."""
    hours = (-24.0, 24.0, -24.0, 24.0, -1.0, 1.0)[_number(plan) % 6]
    moment = random.choice(("", _moment(random)))
    plan = _with(
        plan, PlannedEvent("clock", 0, moment, args={"hours": hours, "seconds": random.choice((60.0, HOUR, DAY))})
    )
    return _lost(random, plan) if random.random() < 0.5 else plan


@group
def refused(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """The API server answers 403, 422 or 429, before and after the payment."""
    number = _number(plan)
    args = {
        "what": ("jobs", "status", "all")[number % 3], "code": (403, 422, 429, 500)[number // 3 % 4],
        "seconds": random.choice((30.0, 600.0, 2 * HOUR)),
    }  # fmt: skip
    moment = random.choice(("state:submitted", "state:submitted", "state:succeeded", "", _moment(random)))
    return _with(plan, PlannedEvent("refuse", 0, moment, args=args))


@group
def collecting(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """Collecting fails for minutes or a day; lost workers write late."""
    moment = random.choice(("state:succeeded", "state:submitted", "state:submitted"))
    match ("jobs_fail", "zombie", "jobs_fail", "evict", "jobs_fail", "zombie", "unavailable")[_number(plan) % 7]:
        case "jobs_fail":
            made = PlannedEvent("jobs_fail", 0, moment, args={"seconds": random.choice((60.0, HOUR, DAY, DAY))})
        case "zombie":
            made = PlannedEvent(
                "zombie", 0, random.choice(("", moment)), args={"seconds": random.choice((5.0, 30.0, 500.0))}
            )
        case "evict":
            made = PlannedEvent("evict", 3, moment)
        case _:
            made = PlannedEvent(
                "unavailable", 0, moment, args={"store": random.choice(STORES), "seconds": random.choice((HOUR, DAY))}
            )
    plan = _with(plan, made)
    if random.random() < 0.5:
        plan = _with(plan, *_to_and_fro(random))
    return plan


def _to_and_fro(random: Random) -> list[PlannedEvent]:
    """Events after a failure: another purchase, a re-application meanwhile, and a return to the first input."""
    on, gone = "phase:Failed", random.choice((20.5, 24.0, 28.0, 60.0))
    return [
        PlannedEvent("edit", 20, on, args={"variant": 1}),
        PlannedEvent("delete", gone, on),
        PlannedEvent("apply", gone + 2, on),
        PlannedEvent("edit", 20_000.0, on, args={"variant": 0}),
    ]


@group
def providers(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """A provider that is unreachable, locks the account, refuses or is busy."""
    replies = {
        str(n): random.choice(("unreachable", "429", "403", "422", "500", "lost"))
        for n in range(1, random.randint(2, 4))
    }
    how, seconds = random.choice(("unreachable", "locked", "503", "429")), random.choice((30.0, HOUR, 3 * HOUR))
    plan = replace(plan, replies=replies if random.random() < 0.6 else {})
    return _with(
        plan,
        PlannedEvent("provider_down", 1, random.choice(("", "state:submitted")), args={"how": how, "seconds": seconds}),
    )


@group
def stores(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """One or two stores unavailable from any moment on."""
    for _ in range(random.choice((1, 2))):
        args = {"store": random.choice(STORES), "seconds": random.choice((5.0, 60.0, 600.0, 3 * HOUR))}
        plan = _with(plan, PlannedEvent("unavailable", _after(random), random.choice(("", _moment(random))), args=args))
    return _lost(random, plan) if random.random() < 0.3 else plan


@group
def deadlines(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """spec.deadlineSeconds with a slow provider, and cancellations by a person."""
    options = plan.subjects[0].options | {"deadlineSeconds": random.choice((60, 300, 900))}
    plan = replace(
        plan, subjects=(replace(plan.subjects[0], options=options),), takes=random.choice((50.0, 400.0, 9000.0))
    )
    if random.random() < 0.5:
        plan = _with(
            plan,
            PlannedEvent(
                "cancel", random.choice((0.1, 5.0, 40.0)), random.choice(("state:submitted", "state:intent", ""))
            ),
        )
    return _lost(random, plan) if random.random() < 0.4 else plan


@group
def people(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """Only user actions, many of them; sometimes two operators."""
    plan = _with(plan, *_people(random, random.randint(2, 6)))
    if random.random() < 0.3:
        plan = _with(plan, PlannedEvent("second", random.choice((0.0, 6.0, 30.0)), args={"seconds": 600.0}))
    if random.random() < 0.3:
        plan = _with(plan, PlannedEvent("restart", _after(random), _moment(random)))
    if random.random() < 0.3:
        plan = replace(plan, results={"1": "fails"})
    return plan


@group
def queued(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """One place for two or three resources: user actions on one that waits, lost replies, restarts."""
    kind, count = random.choice((Kind.IMAGE_GENERATION, plan.subjects[0].kind)), random.choice((2, 3))
    options = [{}, *({"priority": random.choice((-1, 0, 1))} for _ in range(2))]
    if random.random() < 0.3:
        options[1]["queueDeadlineSeconds"] = random.choice((60, 900))
    subjects = [
        Subject(("ns", "other", "third")[number], kind, "it", number, options[number]) for number in range(count)
    ]
    takes = random.choice((6.0, 60.0, 1800.0))
    plan = replace(plan, subjects=tuple(subjects), places=1, takes=takes)
    at = random.choice((0.05, 1.0, 5.0, 30.0))
    match ("suspend", "cancel", "edit", "delete", "restart", "second")[_number(plan) % 6]:
        case "suspend":
            plan = _with(plan, PlannedEvent("suspend", at, "", 1), PlannedEvent("unsuspend", at + HOUR, "", 1))
        case "cancel":
            plan = _with(plan, PlannedEvent("cancel", at, "", 1))
        case "edit":
            plan = _with(plan, PlannedEvent("edit", at, "", 1, {"variant": 2}))
        case "delete":
            plan = _with(plan, PlannedEvent("delete", at, "", 1), PlannedEvent("apply", at + 20.0, "", 1))
        case "restart":
            plan = _with(plan, PlannedEvent("restart", at))
        case _:
            plan = _with(plan, PlannedEvent("second", at, args={"seconds": 600.0}))
    if _number(plan) % 3 == 0:
        plan = _with(plan, _fault(random, "reason:Queued", random.randrange(WAITING_POINTS), who=1))
    return _lost(random, plan) if random.random() < 0.4 else plan


VERDICTS = (
    "approve", "edit", "edit and approve", "wrong run", "early", "manifest", "suspend", "cancel", "delete", "reject",
    "reject later", "point", "deciding", "deciding", "paying", "line", "lost", "restart", "second", "deadline",
    "price",
)  # fmt: skip


@of_policy(3)
def awaiting(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """A run waits for an approval, by the field or the namespace's label: whatever people do and whatever fails."""
    number, on = _number(plan), "phase:AwaitingApproval"
    options = plan.subjects[0].options | ({"dryRun": "Estimate"} if random.random() < 0.08 else {})
    if number % 3 == 2:
        plan = _with(plan, PlannedEvent("require"))
    else:
        options |= {"approval": "Manual"}
    at = random.choice((0.0, 0.02, 0.06, 1.0, 30.0, HOUR))
    soon = at + random.choice((-0.01, 0.0, 0.01, 0.06, 0.1, 5.0))
    what = VERDICTS[number % len(VERDICTS)]
    if what == "deadline":
        options |= {"deadlineSeconds": random.choice((60, 900))}
    plan = replace(plan, subjects=(replace(plan.subjects[0], options=options),))
    plan = _waiting(random, plan, what, at, max(soon, 0.0))
    for later in (2 * HOUR, DAY):
        if random.random() < 0.8:
            plan = _with(plan, PlannedEvent("approve", later, on))
    return plan


def _waiting(random: Random, plan: RehearsalPlan, what: str, at: float, soon: float) -> RehearsalPlan:
    """Plan with one of VERDICTS at a time after the begin of the wait."""
    on, approve = "phase:AwaitingApproval", PlannedEvent("approve", soon, "phase:AwaitingApproval")
    match what:
        case "edit":
            edit = PlannedEvent("edit", at, on, args={"variant": 1})
            back = PlannedEvent("edit", soon + random.choice((0.01, 1.0)), on, args={"variant": 0})
            return _with(plan, edit, approve, *([back] if random.random() < 0.4 else ()))
        case "edit and approve":
            return _with(plan, PlannedEvent("approve", at, on, args={"variant": 1, "offset": random.choice((0, 1))}))
        case "wrong run":
            wrong = PlannedEvent("approve", at, on, args={"offset": random.choice((-1, 1, 2))})
            edit = PlannedEvent("edit", soon + 1, on, args={"variant": 1})
            return _with(plan, wrong, *([edit] if random.random() < 0.6 else ()))
        case "early":
            moment = random.choice(("", "phase:Preparing", "phase:Suspended", "phase:Completed"))
            early = PlannedEvent("approve", random.choice((0.0, 0.06, 3.0)), moment, args={"offset": at % 2 > 0})
            return _with(plan, early, *([PlannedEvent("edit", 60.0, moment, args={"variant": 1})] * (moment != "")))
        case "manifest" | "delete":
            made = {"approved": what == "manifest"}
            return _with(plan, PlannedEvent("delete", at, on), PlannedEvent("apply", soon + 20.0, on, args=made))
        case "suspend":
            resumed = PlannedEvent("unsuspend", soon + random.choice((0.01, 0.1, 60.0)), on)
            return _with(plan, PlannedEvent("suspend", at, on), approve, resumed)
        case "cancel":
            return _with(plan, PlannedEvent("cancel", at, on), approve)
        case "reject" | "reject later":
            first, second = PlannedEvent("reject", at, on), approve
            if what == "reject later":
                first, second = replace(approve, at=at), PlannedEvent("reject", soon, on)
            return _with(plan, first, second, PlannedEvent("rerun", HOUR, "phase:Failed", args={"token": "again"}))
        case _:
            return _with(_failing(random, plan, what, at), approve)


def _failing(random: Random, plan: RehearsalPlan, what: str, at: float) -> RehearsalPlan:
    """Plan in which something fails while a run waits, or after it was approved."""
    fault: dict[str, Any] = {"side": random.choice(("before", "after")), "action": random.choice(("crash", "error"))}
    match what:
        case "price":
            args = {"factor": random.choice((0.5, 1.5, 3.0)), "seconds": random.choice((0.0, 0.0, 900.0))}
            return _with(plan, PlannedEvent("reprice", at, "phase:AwaitingApproval", args=args))
        case "point":
            return _with(plan, PlannedEvent("io", args=fault | {"anchor": "any", "nth": random.randrange(160)}))
        case "deciding":
            number = _number(plan)
            nth = (number // len(VERDICTS) * 7 + number) % DECIDING
            return _with(plan, PlannedEvent("io", args=fault | {"anchor": "deciding", "nth": nth}))
        case "paying":
            return _with(plan, PlannedEvent("io", args=fault | {"anchor": "paying", "nth": random.randrange(16)}))
        case "line":
            nth = random.randrange(LINES)
            return _with(plan, PlannedEvent("line", args={"nth": nth, "action": fault["action"]}))
        case "lost":
            return _lost(random, plan, 2)
        case "restart":
            return _with(plan, PlannedEvent("restart", at, "phase:AwaitingApproval"))
        case "second":
            return _with(plan, PlannedEvent("second", at, "phase:AwaitingApproval", args={"seconds": 600.0}))
        case _:
            return plan


EXPIRIES = (
    "edit", "rerun", "point", "collect", "delete", "point", "restart", "unavailable", "point", "cancel", "refuse",
    "point", "suspend", "lost", "cancel later",
)  # fmt: skip


@of_policy(1)
def expired(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """Finished and given-up resources whose time ends while something is open, while people act, or at a fault."""
    number, ttl = _number(plan), random.choice((0, 0, 1, 30, int(HOUR)))
    options = plan.subjects[0].options | {"ttlSecondsAfterFinished": ttl}
    plan = replace(plan, subjects=(replace(plan.subjects[0], options=options),), takes=random.choice((6.0, 60.0)))
    on, at = "phase:Completed", ttl + random.choice((-0.01, 0.0, 0.01, 0.06, 1.0))
    if number % 2:
        on = "phase:Failed"
        plan = replace(plan, results={"1": random.choice(("fails", "files-gone", "404", "expired"))})
    again = PlannedEvent("apply", max(at, 0) + random.choice((0.1, 5.0, HOUR)), on)
    what = EXPIRIES[number // 2 % len(EXPIRIES)]
    if what in EXPIRIES[-3:]:
        return _with(_finished(random, plan, what, PlannedEvent("cancel", max(at, 0), on)), again)
    match what:
        case "edit":
            made = PlannedEvent("edit", max(at, 0), on, args={"variant": 1})
        case "rerun":
            made = PlannedEvent("rerun", max(at, 0), on, args={"token": "again"})
        case "point":
            nth = (number // 2 // len(EXPIRIES) * 7 + number) % EXPIRING_POINTS
            args = {"anchor": "expiring", "nth": nth, "side": random.choice(("before", "after"))}
            made = PlannedEvent("io", args=args | {"action": random.choice(("crash", "error"))})
        case "unavailable":
            args = {"store": random.choice(STORES), "seconds": random.choice((5.0, 600.0))}
            made = PlannedEvent("unavailable", max(at, 0), on, args=args)
        case "cancel":  # its request may still finish
            return _with(
                replace(plan, takes=1800.0, cancels=False), PlannedEvent("cancel", 1.0, "state:submitted"), again
            )
        case "refuse":
            args = {"what": random.choice(("status", "all")), "code": 403, "seconds": random.choice((5.0, 600.0))}
            made = PlannedEvent("refuse", max(at, 0), on, args=args)
        case person:
            made = PlannedEvent(person, max(at, 0), on)
    return _with(plan, made, again)


def _finished(random: Random, plan: RehearsalPlan, what: str, cancel: PlannedEvent) -> RehearsalPlan:
    """Plan with one of the last turns of EXPIRIES at the time of `cancel`."""
    match what:
        case "suspend":
            later = cancel.at + random.choice((0.1, HOUR))
            return _with(plan, replace(cancel, do="suspend"), replace(cancel, do="unsuspend", at=later))
        case "lost":
            return _with(_lost(random, plan, 2), replace(cancel, do="apply"))
        case _:
            return _with(plan, cancel)


@of_policy(1)
def held_jobs(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """Jobs that are created suspended, suspended again while they run and resumed, as Kueue does; Jobs that wait for a
    node, also while the workers' settings change; Jobs that are suspended just as their outcome is stored.
    """
    number = _number(plan)
    if number % 3:
        plan = replace(plan, queue_seconds=random.choice((0.5, 60.0, 900.0, 2 * HOUR, DAY)))
    for _ in range(random.choice((1, 2, 3))):
        on, at = random.choice(("phase:Preparing", "phase:Collecting")), random.choice((0.0, 0.06, 3.0, 5.99, 63.0))
        seconds = random.choice((0.01, 1.0, 700.0, 2 * HOUR))
        plan = _with(plan, PlannedEvent("hold_jobs", at, on, args={"seconds": seconds}))
    match ("nothing", "restart", "evict", "people", "point", "zombie", "deadline", "left", "node", "node")[number % 10]:
        case "left":
            made = PlannedEvent("preempt_at_outcome", 0.0, random.choice(("phase:Preparing", "phase:Collecting")))
            return _with(plan, made, *([PlannedEvent("restart", 70.0)] * (random.random() < 0.5)))
        case "node":
            return _without_node(random, plan)
        case "restart" | "evict" as what:
            return _with(
                plan, PlannedEvent(what, random.choice((0.1, 4.0, 70.0)), random.choice(("", "phase:Collecting")))
            )
        case "people":
            return _with(plan, *_people(random, 2))
        case "point":
            args = {"anchor": "any", "nth": random.randrange(200), "side": random.choice(("before", "after"))}
            return _with(plan, PlannedEvent("io", args=args | {"action": random.choice(("crash", "error"))}))
        case "zombie":
            return _with(plan, PlannedEvent("zombie", args={"seconds": random.choice((5.0, 500.0))}))
        case "deadline":
            options = plan.subjects[0].options | {"deadlineSeconds": random.choice((300, 3600))}
            return replace(plan, subjects=(replace(plan.subjects[0], options=options),))
        case _:
            return plan


def _without_node(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """Pods wait for a node, for longer than a pod may run or not, and the workers' settings change meanwhile."""
    on, seconds = random.choice(("", "state:submitted")), random.choice((30.0, 700.0, 2 * HOUR))
    plan = _with(plan, PlannedEvent("no_node", 0.0, on, args={"seconds": seconds}))
    for number in range(random.choice((0, 1, 2))):
        at = random.choice((5.0, 40.0, 650.0))
        plan = _with(plan, PlannedEvent("change_workers", at + number, on, args={"image": f"worker:{number}"}))
    if random.random() < 0.3:
        options = plan.subjects[0].options | {"deadlineSeconds": random.choice((300, 3600))}
        plan = replace(plan, subjects=(replace(plan.subjects[0], options=options),))
    return plan


WAITS = (
    "suspend", "cancel", "edit", "delete", "lost", "point", "apply", "leaving", "restart", "point", "second",
    "lost point",
)  # fmt: skip
"""Turns of the groups below: what happens while a run waits, or when its wait ends."""


FAULTS = ("point", "leaving", "lost point")


def _turn(plan: RehearsalPlan) -> str:
    return WAITS[_number(plan) % len(WAITS)]


def _point(plan: RehearsalPlan) -> int:
    """Number of this group's plans with smaller seeds and a fault at a point."""
    number = _number(plan)
    return sum(WAITS[each % len(WAITS)] in FAULTS for each in range(number))


def _fault(random: Random, anchor: str, nth: int, *, at: float = 0.0, on: str = "", who: int = 0) -> PlannedEvent:
    """A crash or an error at a point of I/O."""
    fault = {"side": random.choice(("before", "after")), "action": random.choice(("crash", "crash", "error"))}
    return PlannedEvent("io", at, on, who, fault | {"anchor": anchor, "nth": nth})


def _each_fault(random: Random, anchor: str, number: int, points: int) -> PlannedEvent:
    """The first ones crash at each point."""
    fault = _fault(random, anchor, number % points)
    return replace(fault, args=fault.args | {"action": "crash"}) if number < points else fault


def _during(random: Random, plan: RehearsalPlan, on: str, anchor: str, who: int = 0) -> RehearsalPlan:
    """Plan with the turn of its number in a wait that begins `on`; `anchor` is that of its faults."""
    at, number = random.choice((0.0, 0.02, 0.06, 1.0, 30.0, 400.0)), _number(plan)
    soon = at + random.choice((0.02, 1.0, 20.0, 300.0))
    nth = number // len(WAITS) * 7 + random.randrange(7)
    match _turn(plan):
        case "suspend":
            return _with(plan, PlannedEvent("suspend", at, on, who), PlannedEvent("unsuspend", soon, on, who))
        case "edit":
            edit = PlannedEvent("edit", at, on, who, {"variant": 2})
            back = PlannedEvent("edit", soon, on, who, {"variant": plan.subjects[who].variant})
            return _with(plan, edit, *([back] if random.random() < 0.4 else ()))
        case "delete":
            return _with(plan, PlannedEvent("delete", at, on, who), PlannedEvent("apply", soon + 1, on, who))
        case "lost":
            return _lost(random, plan, 2)
        case "point":
            return _with(plan, _fault(random, anchor, nth % WAITING_POINTS, who=who))
        case "lost point":
            return _with(_lost(random, plan), _fault(random, anchor, nth % WAITING_POINTS, who=who))
        case "restart":
            return _with(plan, PlannedEvent("restart", at, on, who))
        case "second":
            return _with(plan, PlannedEvent("second", at, on, who, {"seconds": 600.0}))
        case "cancel" | "apply" as person:
            return _with(plan, PlannedEvent(person, at, on, who))
        case _:
            return plan  # the group has a fault when the wait ends


@of_policy(1)
def over_budget(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """A run waits with BudgetExceeded, whatever people do and whatever fails; the budget is raised, or its day ends."""
    on = "reason:BudgetExceeded"
    kind = random.choice((Kind.IMAGE_GENERATION, Kind.LORA_TRAINING))
    plan = replace(plan, subjects=(replace(plan.subjects[0], kind=kind),), budget="0.001", takes=6.0)
    plan = _during(random, plan, on, on)
    at = random.choice((0.06, 30.0, 600.0, HOUR))
    if _turn(plan) == "leaving":
        plan = _with(plan, _fault(random, on, random.randrange(WAITING_POINTS), at=at, on=on))
    return _with(plan, PlannedEvent("raise_budget", at, on, args={"dollars": "1000"}))


@of_policy(1)
def in_queue(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """A run waits with Queued behind another one, whatever people do and whatever fails."""
    on, kind = "reason:Queued", random.choice((Kind.IMAGE_GENERATION, Kind.LORA_TRAINING))
    options = {"queueDeadlineSeconds": 900} if random.random() < 0.1 else {}
    waits = Subject(random.choice(("ns", "other")), kind, "waits", 1, options)
    takes = random.choice((60.0, 600.0, 1800.0))
    plan = replace(plan, subjects=(replace(plan.subjects[0], kind=kind), waits), places=1, takes=takes)
    # The first in the queue is not known: each may wait.
    plan = _during(random, plan, on, on, who=_number(plan) // len(WAITS) % 2)
    if _turn(plan) == "leaving":
        faults = [_fault(random, on, random.randrange(WAITING_POINTS), at=takes, on=on, who=who) for who in (0, 1)]
        plan = _with(plan, *faults)
    return plan


@of_policy(1)
def delivered(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """Webhooks whose replies are lost, refused or late, and a process that crashes around a delivery."""
    number = _number(plan)
    on = ("phase:Completed", "phase:Failed", "phase:AwaitingApproval", "reason:BudgetExceeded")[number % 4]
    hooks = {
        str(each_number): random.choice(("lost", "lost", "dropped", "500", "429", "301"))
        for each_number in range(1, random.choice((2, 3, 5)))
    }
    if random.random() < 0.1:
        hooks[str(random.choice((1, 2)))] = "410"
    urls = random.choice(((HOOK,), (HOOK,), (HOOK, HOOK + "/2"), (HOOK, PRIVATE), (REBOUND, HOOK)))
    events = ["Completed", "Failed", "AwaitingApproval", "BudgetExceeded"]
    plan = _with_options(plan, notify=[{"url": url, "on": events} for url in urls])
    plan = replace(plan, hooks=hooks, takes=6.0)
    match on:
        case "phase:Failed":
            plan = replace(plan, results={"1": "fails"})
        case "phase:AwaitingApproval":
            plan = _with(_with_options(plan, approval="Manual"), PlannedEvent("approve", HOUR, on))
        case "reason:BudgetExceeded":
            plan = _with(replace(plan, budget="0.001"), PlannedEvent("raise_budget", HOUR, on, args={"dollars": "9"}))
        case _:
            pass
    plan = _during(random, plan, on, "delivering")
    if _turn(plan) in FAULTS:
        plan = replace(plan, events=tuple(event for event in plan.events if event.do != "io"))
        plan = _with(plan, _each_fault(random, "delivering", _point(plan), DELIVERING))
    return plan


@of_policy(1)
def without_account(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """A run waits because its namespace's provider account is not configured, whatever people do and whatever fails."""
    on, back = "reason:ProviderNotConfigured", random.choice((0.06, 30.0, 600.0, HOUR))
    label = random.random() < 0.5
    plan = _with(plan, PlannedEvent("grant", 0.0, args={"account": "unknown" if label else "team-a", "only": True}))
    if label:
        plan = _with(plan, PlannedEvent("grant", back, on, args={"account": "team-b"}))
    else:
        args = {"account": "team-a", "seconds": random.choice((60.0, HOUR))}
        plan = _with(plan, PlannedEvent("remove_account", 0.0, args=args))
    plan = _during(random, plan, on, on)
    if _turn(plan) == "leaving":
        plan = _with(plan, _fault(random, on, random.randrange(WAITING_POINTS), at=back, on=on))
    return plan


AUDITED_MOMENTS = (
    "state:sending", "phase:SubmissionUnknown", "state:submitted", "phase:Completed", "reason:Queued",
    "reason:BudgetExceeded", "phase:AwaitingApproval",
)  # fmt: skip


@of_policy(1)
def audited(random: Random, plan: RehearsalPlan) -> RehearsalPlan:
    """Audits around a moment, whatever people do meanwhile and whatever fails in them or in the purchase."""
    number = _number(plan)
    on = AUDITED_MOMENTS[number % len(AUDITED_MOMENTS)]
    match on:
        case "state:sending" | "phase:SubmissionUnknown":
            history = {"lag": 9 * DAY} if on == "phase:SubmissionUnknown" else {"lag": random.choice((0.0, HOUR))}
            plan = replace(_lost(random, plan), history=history)
        case "reason:Queued":
            other = Subject("other", plan.subjects[0].kind, "first", 1)
            plan = replace(plan, subjects=(plan.subjects[0], other), places=1, takes=1800.0)
        case "reason:BudgetExceeded":
            raised = PlannedEvent("raise_budget", 2 * HOUR, on, args={"dollars": "1000"})
            plan = _with(replace(plan, budget="0.001"), raised)
        case "phase:AwaitingApproval":
            plan = _with(_with_options(plan, approval="Manual"), PlannedEvent("approve", 2 * HOUR, on))
        case _:
            plan = replace(plan, takes=random.choice((60.0, 1800.0, 9000.0)))
    plan = _during(random, plan, on, "auditing")
    for at in (random.choice((0.01, 30.0)), random.choice((500.0, 2 * HOUR)), random.choice((5 * HOUR, 26 * HOUR))):
        plan = _with(plan, PlannedEvent("audit", at, on))
    if _turn(plan) in FAULTS:
        plan = replace(plan, events=tuple(event for event in plan.events if event.do != "io"))
        paying = _fault(random, "paying", random.randrange(16))
        plan = _with(plan, _each_fault(random, "auditing", _point(plan), AUDITING), *([paying] * (number % 2)))
    return plan
