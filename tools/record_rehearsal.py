"""Record of rehearsals that a refactoring must not change: each decision's input and plan, and each call of a store.

    git worktree add BASE COMMIT
    PYTHONHASHSEED=0 PYTHONPATH=BASE/operator:BASE/tests/simulation python tools/record_rehearsal.py record before.jsonl
    PYTHONHASHSEED=0 PYTHONPATH=operator:tests/simulation python tools/record_rehearsal.py record after.jsonl
    python tools/record_rehearsal.py compare before.jsonl after.jsonl

A line has the SHA-256 of a seed's records: `decisions` (input and plan by field), `writes` (calls of the API server,
MongoDB, the bucket and the providers, in their order, with arguments), `calls` (the names of all), `story` (with the
bucket and MongoDB at the end). `show SEED` prints the records themselves, to compare two trees by `diff`. Plans
with faults that strike at lines of the source are left out. Random ids have the same values in each record.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import multiprocessing
import random
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pydantic

from contentgen_contract.resources.namespaces import requires_approval
from contentgen_operator import reconcile
from contentgen_operator.state.observed import Observation
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.provider_requests import Call
from contentgen_operator.stores import ledger
from contentgen_simulation.rehearsal.generate import generate
from contentgen_simulation.rehearsal.run import quiet
from contentgen_simulation.rehearsal.world import io_points
from contentgen_simulation.rehearsal.world.context import rehearsing
from contentgen_simulation.rehearsal.world.provider import ProviderWorld
from contentgen_simulation.rehearsal.world.world import RehearsalWorld

SEEDS = (range(108), range(1_000_000, 1_000_060), range(2_000_000, 2_000_035))
_READS = (
    "get",
    "find",
    "count",
    "aggregate",
    "outcome",
    "stored",
    "exists",
    "every",
    "content_budgets",
    "marker",
    "poll",
)
# Facts and effects of features, by class: the former field, and what of them it was.
_NAMES = {
    "BudgetFacts": ("budgets", "matching"),
    "BuyingFacts": ("stop", "stop"),
    "Turn": ("turn", ""),
    "AccountGrant": ("account", ""),
    "BudgetClaims": ("claims", ""),
    "BudgetReleases": ("releases", "each"),
}
# Names of fields and collections, and those that they had.
_FORMER = {
    "bound_requests": "claims",
    "bound_to": "claimed_for",
    "boundAt": "claimedAt",
    "correlation_key": "marker",
    "correlationKey": "marker",
    "sendState": "step",
    "send_state": "step",
    "spent": "settled",
    "namespace_labels": "namespace_policy",
    "request_bindings": "request_claims",
    "taken": "claimed",
    "unrecorded": "claim",
}
_LEFT_OUT = ("policy", "settings", "updatedAt")  # settings, the same in all decisions; the real time


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one for each type
    """The value as JSON. Fields with their defaults are left out; of a value without fields, there is the type."""
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return value.isoformat()
        case bytes():
            return hashlib.sha256(value).hexdigest()
        case pydantic.BaseModel():
            return _fields(value)
        case Mapping():
            return {_former(str(_plain(key))): _plain(member) for key, member in value.items() if key not in _LEFT_OUT}
        case set() | frozenset():
            return sorted((_plain(element) for element in value), key=str)
        case list() | tuple():
            return [_plain(element) for element in value]
    return type(value).__name__


def _fields(value: pydantic.BaseModel) -> dict[str, Any]:
    described = type(value).model_fields
    defaults = {name: each.get_default(call_default_factory=True) for name, each in described.items()}
    given = {name: getattr(value, name) for name in described if name not in _LEFT_OUT}
    plain = {name: _plain(member) for name, member in given.items() if member != defaults[name]}
    fields = plain if isinstance(value, Call) else {_former(name): member for name, member in plain.items()}
    return _as_before(value, fields)


def _former(name: str) -> str:
    return _FORMER.get(name, name)


def _as_before(value: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of an observation or a plan by their names at 4d624560, the first commit that was recorded."""
    if fields.get("observed") == {}:  # facts with their defaults
        del fields["observed"]
    if isinstance(value, Plan) and fields.get("cancel", {}).pop("last_chance", False):
        fields["last_chance"] = True
    for group in ("facts", "of_features") if isinstance(value, (Observation, Plan)) else ():
        for part in getattr(value, group, ()) if fields.pop(group, None) else ():
            name, field = _NAMES[type(part).__name__]
            fields |= {name: found} if (found := _plain(getattr(part, field) if field else part)) else {}
    return _with_labels_read(value, fields) if isinstance(value, Observation) else fields


def _with_labels_read(observed: Observation, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of an observation that had been read from the namespace's labels, or of the account."""
    account = fields.pop("account", {})
    # By its present name, else by the former one.
    labels = getattr(observed, "namespace_labels", None) or getattr(observed, "namespace_policy", None)
    if not account.pop("has_key", True):
        fields["provider_configured"] = False
    if labels is not None:
        read = {key: found for key, found in fields["namespace_policy"].items() if key != "problem"}
        if labels.problem or requires_approval(labels.labels):
            fields["approval_required"] = True
        else:
            read["approval_required"] = False
        fields["namespace_policy"] = {**read, "account": account}
    return {**fields, "account": account} if account else fields


class RehearsalRecord:
    """Records of one seed, as lines of JSON by topic."""

    def __init__(self) -> None:
        self.lines: dict[str, list[str]] = {"decisions": [], "writes": [], "calls": [], "story": []}

    def note(self, topic: str, *values: Any) -> None:
        """Add a line."""
        self.lines[topic].append(json.dumps([_plain(each) for each in values], sort_keys=True))

    def call(self, name: str, *args: Any) -> None:
        """Add a call of a store."""
        name = ".".join(_former(part) for part in name.split("."))
        self.note("calls", name)
        method = name.rpartition(".")[2]
        if method == "find_one_and_update" or not method.startswith(_READS):
            self.note("writes", name, *args)

    @property
    def hashes(self) -> dict[str, Any]:
        """Number of decisions, and SHA-256 of each topic."""
        digests = {name: hashlib.sha256("\n".join(lines).encode()).hexdigest() for name, lines in self.lines.items()}
        return {"count": len(self.lines["decisions"]), **digests}

    def decision(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A function of decisions that is recorded."""

        def decided(*args: Any) -> Any:
            plan = original(*args)
            self.note("decisions", original.__name__, args, plan)
            return plan

        return decided

    def attribute(self, original: Callable[..., Any], name_of: Callable[[Any, str], str]) -> Callable[..., Any]:
        """`__getattr__` of a proxy whose methods are recorded under their names; without one: not."""

        def attribute(proxy: Any, method: str) -> Any:
            value, name = original(proxy, method), name_of(proxy, method)

            def call(*args: Any, **named: Any) -> Any:
                self.call(name, args, named)
                return value(*args, **named)

            return call if callable(value) and name else value

        return attribute

    def request(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """A method of the providers' HTTP server that is recorded."""

        def asked(server: Any, request: Any) -> Any:
            self.call(f"http.{request.method.lower()}", str(request.url), request.content)
            return original(server, request)

        return asked


@contextmanager
def _recorded(record: RehearsalRecord, seed: int) -> Iterator[None]:
    """Patch the rehearsal, so that all is recorded and nothing is random."""
    kept: list[tuple[Any, str, Any]] = []
    numbers = itertools.count(1)

    def put(target: Any, name: str, value: Any) -> None:
        kept.append((target, name, getattr(target, name)))
        setattr(target, name, value)

    for name in ("decide", "decide_deletion", "invalid_spec"):
        put(reconcile, name, record.decision(getattr(reconcile, name)))
    for proxy, name_of in ((io_points.Proxy, _name_in_proxy), (io_points.CollectionProxy, _name_of_command)):
        put(proxy, "__getattr__", record.attribute(proxy.__getattr__, name_of))
    for name in ("answer", "answer_now"):
        put(ProviderWorld, name, record.request(getattr(ProviderWorld, name)))
    put(ledger, "_PROCESS", "a process")
    put(socket, "gethostname", lambda: "host")
    put(secrets, "token_hex", lambda size: f"{next(numbers):0{2 * size}x}")
    put(secrets, "randbits", lambda _: next(numbers))
    put(time, "time_ns", lambda: 1_790_000_000_000_000_000)
    random.seed(seed)
    try:
        yield
    finally:
        for target, name, value in reversed(kept):
            setattr(target, name, value)


def _name_in_proxy(proxy: Any, method: str) -> str:
    return "" if method.startswith("_") else f"{proxy._store}.{method}"


def _name_of_command(proxy: Any, method: str) -> str:
    return f"{proxy._collection.name}.{method}" if method in proxy._COMMANDS else ""


def recorded(seed: int) -> tuple[str, RehearsalRecord]:
    """Group of a seed's plan, and its records. With a fault at a line of the source: `lines`, and none."""
    quiet()
    plan, record = generate(seed), RehearsalRecord()
    if any(event.do == "line" for event in plan.events):
        return "lines", record
    with _recorded(record, seed), rehearsing():
        world = RehearsalWorld(plan)
        asyncio.run(world.run())
    for line in world.story:
        record.note("story", line)
    for name in sorted(world.database.list_collection_names()):
        for document in sorted(world.database[name].find(), key=lambda found: str(found["_id"])):
            record.note("story", _former(name), document)
    record.note("story", world.bucket.objects)
    return plan.group, record


def _line(seed: int) -> dict[str, Any] | None:
    group, record = recorded(seed)
    return {"seed": seed, "group": group, **record.hashes} if group != "lines" else None


def _record(file: Path, seeds: Iterable[int], processes: int) -> None:
    with multiprocessing.get_context("spawn").Pool(processes) as pool, file.open("w") as out:
        lines = [each for each in pool.imap(_line, seeds, chunksize=4) if each is not None]
        out.writelines(json.dumps(line) + "\n" for line in lines)
    print(f"{len(lines)} plans with {sum(line['count'] for line in lines)} decisions")


def _compare(before: Path, after: Path) -> int:
    """Exit code 1 if a seed of both files differs, or one of the first is missing."""
    old, new = ({each["seed"]: each for each in map(json.loads, file.open())} for file in (before, after))
    different = {
        seed: [name for name in each if each[name] != new.get(seed, {}).get(name)] for seed, each in old.items()
    }
    for seed, names in different.items():
        if names:
            print(f"seed {seed} ({old[seed]['group']}): {', '.join(names)}")
    count = sum(bool(names) for names in different.values())
    decisions = sum(each["count"] for each in old.values())
    print(f"{len(old) - count} of {len(old)} plans are equal; all have {decisions} decisions")
    return 1 if count else 0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record")
    record.add_argument("file", type=Path)
    record.add_argument("--plans", type=int, default=10**9, help="of each series of seeds")
    record.add_argument("--processes", type=int, default=2)
    commands.add_parser("show").add_argument("seed", type=int)
    compare = commands.add_parser("compare")
    compare.add_argument("files", type=Path, nargs=2)
    asked = parser.parse_args()
    if asked.command == "compare":
        sys.exit(_compare(*asked.files))
    if asked.command == "show":
        for topic, lines in recorded(asked.seed)[1].lines.items():
            print("\n".join(f"{topic} {line}" for line in lines))
        return
    seeds = itertools.chain.from_iterable(seed[: asked.plans] for seed in SEEDS)
    _record(asked.file, seeds, asked.processes)


if __name__ == "__main__":
    main()
