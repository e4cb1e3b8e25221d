"""A plan from a seed: one of the groups below, and sometimes what people do at random times besides."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from contentgen_contract.names import Kind
from contentgen_simulation.rehearsal.plan import Event, Plan, Subject

HOUR, DAY = 3600.0, 86400.0
STATES = ("intent", "submitted", "succeeded", "collected", "failed", "refused", "cancelled")
PHASES = ("Preparing", "Submitting", "Processing", "Collecting", "Completed", "Failed", "SubmissionUnknown")
STORES = ("mongo", "storage", "kube")
POLICIES = ("Retain", "Delete")
Draft = Callable[[Random, Plan], Plan]
GROUPS: dict[str, Draft] = {}


def group(draft: Draft) -> Draft:
    """Enter a group of plans."""
    GROUPS[draft.__name__] = draft
    return draft


def generate(seed: int) -> Plan:
    """The plan of a seed. Groups take turns."""
    random = Random(seed)  # noqa: S311 - a plan is no secret
    name = list(GROUPS)[seed % len(GROUPS)]
    kind = random.choice(list(Kind))
    options: dict[str, Any] = {}
    if random.random() < 0.3:
        options["paidAttempts"] = random.choice((2, 3))
    if random.random() < 0.3:
        options["deletionPolicy"] = "Delete"
    takes = random.choice((2.0, 6.0, 6.0, 60.0, 1800.0, 9000.0))
    plan = Plan(seed, name, (Subject("ns", kind, "it", 0, options),), (), takes=takes, cancels=random.random() < 0.7)
    plan = GROUPS[name](random, plan)
    if random.random() < 0.35:
        plan = _with(plan, *_people(random, random.randint(1, 3)))
    return _with(plan, *_advice(random, plan))


def _with(plan: Plan, *events: Event) -> Plan:
    return replace(plan, events=(*plan.events, *events))


def _moment(random: Random) -> str:
    """A purchase state or a phase of the subject."""
    states, phases = [f"state:{each}" for each in STATES], [f"phase:{each}" for each in PHASES]
    return random.choice([*states, *phases, "state:submitted", "state:succeeded", "state:collected"])


def _after(random: Random) -> float:
    return random.choice((0.0, 0.0, 0.02, 1.0, 5.0, 30.0, 400.0, 2 * HOUR))


def _people(random: Random, count: int) -> list[Event]:
    """Edits, deletions, re-applications, suspensions and annotations at random times."""
    made: list[Event] = []
    for number in range(count):
        on, at = random.choice(("", _moment(random))), random.choice((0.0, 3.0, 15.0, 60.0, HOUR, DAY))
        match random.choice(("edit", "edit", "delete", "suspend", "cancel", "rerun", "back")):
            case "edit":
                made.append(Event("edit", at, on, args={"variant": random.choice((1, 2))}))
            case "back":
                made.append(Event("edit", at, on, args={"variant": 1}))
                made.append(Event("edit", at + random.choice((1.0, 20.0, 200.0)), on, args={"variant": 0}))
            case "delete":
                made.append(Event("delete", at, on))
                made.append(Event("apply", at + random.choice((1.0, 40.0, HOUR)), on))
            case "suspend":
                made.append(Event("suspend", at, on))
                made.append(Event("unsuspend", at + random.choice((10.0, HOUR)), on))
            case "cancel":
                made.append(Event("cancel", at, on))
            case _:
                made.append(Event("rerun", at, on, args={"token": f"once more {number}"}))
    return made


def _advice(random: Random, plan: Plan) -> list[Event]:
    """A person who follows what SubmissionUnknown advises, for some plans."""
    if random.random() < 0.4:
        return []
    return [
        Event("resubmit", random.choice((60.0, HOUR, DAY)), "phase:SubmissionUnknown", each)
        for each in range(len(plan.subjects))
    ]


def _lost(random: Random, plan: Plan, count: int = 1) -> Plan:
    """Replies that are lost: most requests arrived, some did not."""
    how = {str(number): random.choice(("lost", "lost", "lost", "dropped")) for number in range(1, count + 1)}
    return replace(plan, replies=plan.replies | how)


@group
def three_uids(random: Random, plan: Plan) -> Plan:
    """Three successive uids, each Retain or Delete, in any purchase state, while a store may be unavailable."""
    options = plan.subjects[0].options | {"deletionPolicy": random.choice(POLICIES)}
    plan = replace(plan, subjects=(replace(plan.subjects[0], options=options),))
    events: list[Event] = []
    at = 0.0
    for _ in range(2):
        on = _moment(random) if not events else ""
        at += _after(random)
        if random.random() < 0.6:
            seconds = random.choice((10.0, 40.0, 60.0, 400.0))
            events.append(Event("away", max(at - 1, 0), on, args={"store": random.choice(STORES), "seconds": seconds}))
        events.append(Event("delete", at, on))
        gap = random.choice((0.5, 5.0, 40.0, HOUR))
        args: dict[str, Any] = {"policy": random.choice(POLICIES)}
        if random.random() < 0.3:
            args["variant"] = random.choice((0, 1))
        events.append(Event("apply", at + gap, on, args=args))
        at += gap
        if on:  # the second change follows the first
            events = [replace(each, on=on) for each in events]
    first = events[0].on
    plan = replace(plan, events=tuple(replace(each, on=first) for each in events))
    return _lost(random, plan) if random.random() < 0.3 else plan


@group
def identical_inputs(random: Random, plan: Plan) -> Plan:
    """Resources with the same input, in one namespace or two, whose replies are lost."""
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
def results(random: Random, plan: Plan) -> Plan:
    """Results that are gone, moved, expired, cut, too large or too few."""
    fates = (
        "302",
        "404",
        "410",
        "403",
        "503",
        "expired",
        "partial",
        "oversized",
        "fewer",
        "fails",
        "files-gone",
        "files-expire",
    )
    given = {str(number): random.choice(fates) for number in range(1, random.choice((1, 1, 2)) + 1)}
    options = plan.subjects[0].options | ({"paidAttempts": 2} if random.random() < 0.5 else {})
    plan = replace(plan, results=given, subjects=(replace(plan.subjects[0], options=options),))
    if "expired" in given.values() or random.random() < 0.2:
        seconds = random.choice((400.0, 2 * HOUR))
        plan = _with(
            plan, Event("provider_down", 1, "state:submitted", args={"how": "unreachable", "seconds": seconds})
        )
    if random.random() < 0.4:
        args = {"variant": plan.subjects[0].variant}
        plan = _with(plan, Event("delete", 30, "phase:Failed"), Event("apply", 80, "phase:Failed", args=args))
    return plan


@group
def history(random: Random, plan: Plan) -> Plan:
    """A lost reply, and a history that is long, late, incomplete, or asked two days later."""
    given: dict[str, Any] = {}
    if random.random() < 0.5:
        given["noise"] = random.choice((50, 150, 1000))
    if random.random() < 0.4:
        given["lag"] = random.choice((60.0, 3 * HOUR, 30 * HOUR))
    if random.random() < 0.2:
        given[random.choice(("missing", "without_payload"))] = [1]
    plan = replace(_lost(random, plan), history=given)
    if random.random() < 0.4:
        store, seconds = random.choice((("kube", 26 * HOUR), ("mongo", 2 * DAY), ("kube", 3 * HOUR)))
        plan = _with(plan, Event("away", 0.1, "state:intent", args={"store": store, "seconds": seconds}))
    if random.random() < 0.2:
        plan = _with(
            plan, Event("delete", random.choice((1.0, 600.0)), "state:intent"), Event("apply", HOUR, "state:intent")
        )
    if random.random() < 0.3:
        options = plan.subjects[0].options | {"deadlineSeconds": random.choice((60, 900, 3600))}
        plan = replace(plan, subjects=(replace(plan.subjects[0], options=options),))
    return plan


@group
def rewound(random: Random, plan: Plan) -> Plan:
    """MongoDB, etcd and the bucket restored alone and in pairs, from any state to any later one."""
    stores = random.choice(
        (["mongo"], ["etcd"], ["bucket"], ["mongo", "etcd"], ["mongo", "bucket"], ["etcd", "bucket"])
    )
    taken = random.choice((Event("snapshot", 0.03), Event("snapshot", 3.0), Event("snapshot", 0, _moment(random))))
    at = random.choice((0.0, 0.02, 2.0, 60.0, HOUR))
    restored = Event("rewind", at, _moment(random), args={"stores": stores})
    plan = _with(plan, taken, restored)
    if random.random() < 0.4:
        plan = _lost(random, plan)
    return plan


@group
def recreated_namespace(random: Random, plan: Plan) -> Plan:
    """A namespace that is deleted and created again."""
    plan = _with(plan, Event("recreate_namespace", _after(random), _moment(random)))
    return _lost(random, plan) if random.random() < 0.3 else plan


@group
def points(random: Random, plan: Plan) -> Plan:
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
        plan = _with(plan, Event("io", args=args))
    return plan


@group
def frozen(random: Random, plan: Plan) -> Plan:
    """A process frozen at a point while a second one goes on, and resumed."""
    args = {
        "anchor": random.choice(("paying", "paying", "any")), "nth": random.randrange(14),
        "side": random.choice(("before", "after")), "action": "freeze",
        "seconds": random.choice((10.0, 120.0, 3 * HOUR)),
    }  # fmt: skip
    if args["anchor"] == "any":
        args["nth"] = random.randrange(150)
    plan = _with(plan, Event("io", args=args))
    if random.random() < 0.5:
        plan = _with(plan, Event("resubmit", random.choice((1.0, 60.0)), "phase:SubmissionUnknown"))
    return plan


@group
def terminated(random: Random, plan: Plan) -> Plan:
    """SIGTERM while the POST, or another call, is on its way."""
    args = {
        "anchor": "paying", "nth": random.randrange(12), "side": random.choice(("before", "after")),
        "action": "sigterm", "seconds": random.choice((5.0, 25.0, 60.0)),
    }  # fmt: skip
    return _with(plan, Event("io", args=args))


@group
def clocks(random: Random, plan: Plan) -> Plan:
    """The operator's clock is a day off, for a time or for good."""
    hours = random.choice((-24.0, 24.0, -1.0, 1.0))
    moment = random.choice(("", _moment(random)))
    plan = _with(plan, Event("clock", 0, moment, args={"hours": hours, "seconds": random.choice((60.0, HOUR, DAY))}))
    return _lost(random, plan) if random.random() < 0.5 else plan


@group
def refused(random: Random, plan: Plan) -> Plan:
    """The API server answers 403, 422 or 429, before and after the payment."""
    args = {
        "what": random.choice(("jobs", "jobs", "status", "all")), "code": random.choice((403, 422, 429, 500)),
        "seconds": random.choice((30.0, 600.0, 2 * HOUR)),
    }  # fmt: skip
    moment = random.choice(("state:submitted", "state:succeeded", "", _moment(random)))
    return _with(plan, Event("refuse", 0, moment, args=args))


@group
def collecting(random: Random, plan: Plan) -> Plan:
    """Collecting fails for minutes or a day; workers that are lost write late."""
    moment = random.choice(("state:succeeded", "state:submitted", "state:submitted"))
    match random.choice(("jobs_fail", "jobs_fail", "zombie", "evict", "away")):
        case "jobs_fail":
            made = Event("jobs_fail", 0, moment, args={"seconds": random.choice((60.0, HOUR, DAY))})
        case "zombie":
            made = Event("zombie", 0, random.choice(("", moment)), args={"seconds": random.choice((5.0, 30.0, 500.0))})
        case "evict":
            made = Event("evict", 3, moment)
        case _:
            made = Event(
                "away", 0, moment, args={"store": random.choice(STORES), "seconds": random.choice((HOUR, DAY))}
            )
    plan = _with(plan, made)
    if random.random() < 0.5:
        plan = _with(plan, *_to_and_fro(random))
    return plan


def _to_and_fro(random: Random) -> list[Event]:
    """After a failure something else is bought, the resource is applied anew on the way, and the first is asked for."""
    on, gone = "phase:Failed", random.choice((20.5, 24.0, 28.0, 60.0))
    return [
        Event("edit", 20, on, args={"variant": 1}),
        Event("delete", gone, on),
        Event("apply", gone + 2, on),
        Event("edit", 20_000.0, on, args={"variant": 0}),
    ]


@group
def providers(random: Random, plan: Plan) -> Plan:
    """A provider that is unreachable, locks the account, refuses or is busy."""
    replies = {
        str(n): random.choice(("unreachable", "429", "403", "422", "500", "lost"))
        for n in range(1, random.randint(2, 4))
    }
    how, seconds = random.choice(("unreachable", "locked", "503", "429")), random.choice((30.0, HOUR, 3 * HOUR))
    plan = replace(plan, replies=replies if random.random() < 0.6 else {})
    return _with(
        plan, Event("provider_down", 1, random.choice(("", "state:submitted")), args={"how": how, "seconds": seconds})
    )


@group
def stores(random: Random, plan: Plan) -> Plan:
    """One or two stores unavailable from any moment on."""
    for _ in range(random.choice((1, 2))):
        args = {"store": random.choice(STORES), "seconds": random.choice((5.0, 60.0, 600.0, 3 * HOUR))}
        plan = _with(plan, Event("away", _after(random), random.choice(("", _moment(random))), args=args))
    return _lost(random, plan) if random.random() < 0.3 else plan


@group
def deadlines(random: Random, plan: Plan) -> Plan:
    """spec.deadlineSeconds with a slow provider, and cancellations by a person."""
    options = plan.subjects[0].options | {"deadlineSeconds": random.choice((60, 300, 900))}
    plan = replace(
        plan, subjects=(replace(plan.subjects[0], options=options),), takes=random.choice((50.0, 400.0, 9000.0))
    )
    if random.random() < 0.5:
        plan = _with(
            plan,
            Event("cancel", random.choice((0.1, 5.0, 40.0)), random.choice(("state:submitted", "state:intent", ""))),
        )
    return _lost(random, plan) if random.random() < 0.4 else plan


@group
def people(random: Random, plan: Plan) -> Plan:
    """Only people, and many things that they do; sometimes two operators."""
    plan = _with(plan, *_people(random, random.randint(2, 6)))
    if random.random() < 0.3:
        plan = _with(plan, Event("second", random.choice((0.0, 6.0, 30.0)), args={"seconds": 600.0}))
    if random.random() < 0.3:
        plan = _with(plan, Event("restart", _after(random), _moment(random)))
    if random.random() < 0.3:
        plan = replace(plan, results={"1": "fails"})
    return plan
