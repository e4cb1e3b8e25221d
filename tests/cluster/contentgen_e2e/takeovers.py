"""Leader takeovers on the bare cluster: the leader is frozen, killed, disconnected, rolled out, or without API server,
while resources of the three kinds are in progress and one of them is in a chosen state.

After each takeover, another process leads (its identity is unique per start), all resources that were in progress are
Completed, no request was sent twice, no stage had a second Job, and the former leader changes nothing and exits.

Only processes of our own containers are signalled, identified by pid, start time and boot; an nft table of our own cuts
the network. Cleanup always continues the processes, deletes the table and restarts the API server.
"""

import json
import os
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import httpx
from kubernetes.client.exceptions import ApiException
from pymongo.errors import PyMongoError
from urllib3.exceptions import HTTPError

from contentgen_cluster import release
from contentgen_cluster.commands import CommandError, run
from contentgen_cluster.node import processes
from contentgen_cluster.node.node import AT
from contentgen_cluster.node.processes import Started
from contentgen_contract.names import RESUBMIT_ANNOTATION, Kind
from contentgen_e2e import small_jobs
from contentgen_e2e.gateway import Gateway, tenant
from contentgen_e2e.oracle import OracleViolation, check_completed
from contentgen_e2e.world import Addresses, ClusterWorld, world_at
from kubernetes import client

T = TypeVar("T")
FAULTS = ("frozen", "killed", "cut off", "rolled out", "API server down")
STATES = ("preparing", "planned", "sending", "submitted", "collecting")
SHORT = (("frozen", "sending"), ("cut off", "collecting"), ("rolled out", "submitted"))
"""Faults of `make test`, where other suites need the API server."""
LEAD_SECONDS = 30.0
_API_AWAY_SECONDS = 60.0
_API_WARM_SECONDS = 5.0  # after its readiness
_END_SECONDS = 180.0  # for all resources in progress; adoptionSeconds may pass first
_THAW_SECONDS = 35.0  # shorter than the 60 s after which the liveness probe kills the process
_EXIT_SECONDS = 30.0
_READY_SECONDS = 180.0
_HELD_SECONDS = 12.0  # delay of a reply or a result by the provider
_FRESH_RESTARTS = 2  # more restarts replace the pod, because the kubelet's back-off would be measured
_ARRIVAL_SECONDS = 4.0
_IN_FLIGHT = 3
_TABLE = "contentgen_takeovers"
_MODEL = "fal-ai/flux/schnell"  # model of the checked resources; the stream uses another one
_AWAY = (ApiException, HTTPError, release.CommandFailed, httpx.TransportError, PyMongoError, OSError)


class Missed(AssertionError):
    """An invariant after a takeover is violated."""


@dataclass
class LeaderTakeover:
    """Result of one takeover: a row of the table."""

    number: int
    fault: str
    state: str
    found: str = ""
    """State of the purchase at the time of the fault."""
    seconds: float = 0.0
    """Seconds without a leader since the fault, or since the API server's return if it was unavailable."""
    served: float = 0.0
    """Seconds until the worker API's endpoint pointed to the new leader."""
    in_flight: int = 0
    asked: int = 0
    missed: list[str] = field(default_factory=list)


def plan(times: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of fault and state: all pairs before a repetition; a tenth have the API server down."""
    dice = Random(seed)  # noqa: S311 - a choice of tests
    if times <= len(SHORT):
        return list(SHORT[:times])
    pairs = [("frozen", state) for state in STATES] * 2
    pairs += [(fault, state) for fault in FAULTS[1:4] for state in STATES]
    chosen: list[tuple[str, str]] = []
    while len(chosen) < times:
        chosen += dice.sample(pairs, len(pairs))
        chosen += [("API server down", dice.choice(STATES)) for _ in range(3)]
    chosen = chosen[:times]
    if not any(fault == "API server down" for fault, _ in chosen):
        chosen[-1] = ("API server down", "submitted")
    return chosen


def until(what: str, reached: Callable[[], T], seconds: float, pause: float = 0.2) -> T:
    """Wait for the first true result; errors of an unavailable API server or store count as none. Raises Missed."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(*_AWAY):
            if found := reached():
                return found
        if time.monotonic() > deadline:
            raise Missed(f"timeout after {seconds:.0f} s: {what}")
        time.sleep(pause)


# The release


class Operators:
    """Operator pods, Lease, and the worker API's endpoint."""

    def __init__(self, world: ClusterWorld) -> None:
        api = world.api.api_client
        self._world = world
        self._pods = client.CoreV1Api(api)
        self._leases = client.CoordinationV1Api(api)
        self._slices = client.DiscoveryV1Api(api)

    def api_is_ready(self) -> bool:
        """Whether the API server is ready."""
        return release.kubectl(self._world.root, "get", "--raw", "/readyz", "--request-timeout=3s") == "ok"

    def leader(self) -> str:
        """Holder of the Lease; empty if none."""
        lease: Any = self._leases.read_namespaced_lease("contentgen", release.NAMESPACE, _request_timeout=3)
        return str(lease.spec.holder_identity or "")

    def pods(self) -> list[Any]:
        """Existing operator pods."""
        selector = "app.kubernetes.io/component=operator"
        listed = self._pods.list_namespaced_pod(release.NAMESPACE, label_selector=selector, _request_timeout=3)
        return list(listed.items)

    def pod(self, name: str) -> Any:
        """One pod; None if it is gone."""
        return next((pod for pod in self.pods() if pod.metadata.name == name), None)

    def led_to(self) -> str:
        """Pod behind the worker API's endpoint."""
        name = "contentgen-worker-api-ipv4"
        found: Any = self._slices.read_namespaced_endpoint_slice(name, release.NAMESPACE, _request_timeout=3)
        return str(found.endpoints[0].target_ref.name) if found.endpoints else ""

    def process(self, name: str) -> Started:
        """Operator process of a pod on this machine. Raises Missed."""
        pod = self.pod(name)
        container = pod.status.container_statuses[0].container_id.rpartition("/")[2]
        found = [
            int(folder.name)
            for folder in processes.PROC.iterdir()
            if folder.name.isdigit()
            and container in _text(folder / "cgroup")
            and b"contentgen_operator" in _arguments(folder)
        ]
        record = processes.observe(min(found)) if found else None
        if record is None:
            raise Missed(f"{name} has no process here")
        return record

    def ready(self) -> bool:
        """Whether there are exactly a ready leader behind the endpoint and a ready standby."""
        pods = self.pods()
        ready = [pod for pod in pods if not pod.metadata.deletion_timestamp and _ready(pod)]
        leader = self.leader().rpartition("_")[0]
        return len(pods) == len(ready) == 2 and leader in {p.metadata.name for p in pods} and self.led_to() == leader

    def replace_worn(self) -> None:
        """Delete standbys in restart back-off."""
        leader = self.leader().rpartition("_")[0]
        for pod in self.pods():
            name = pod.metadata.name
            if name != leader and pod.status.container_statuses[0].restart_count >= _FRESH_RESTARTS:
                release.kubectl(self._world.root, "--namespace", release.NAMESPACE, "delete", "pod", name)


def _ready(pod: Any) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions or ())


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""


def _arguments(folder: Path) -> bytes:
    with suppress(OSError):
        return (folder / "cmdline").read_bytes()
    return b""


# Faults


@contextmanager
def frozen(process: Started) -> Iterator[None]:
    """Stop (SIGSTOP) one of our processes within the context."""
    _signal(process, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(process, signal.SIGCONT)


def _signal(process: Started, number: signal.Signals) -> None:
    if processes.alive(process):
        os.kill(process.pid, number)


@contextmanager
def cut_off(address: str) -> Iterator[None]:
    """Drop a pod's network traffic within the context."""
    run(
        "nft",
        "-f",
        "-",
        stdin=f"""
table ip {_TABLE}
delete table ip {_TABLE}
table ip {_TABLE} {{
  chain sent {{ type filter hook prerouting priority raw; ip saddr {address} drop; }}
  chain received {{ type filter hook postrouting priority raw; ip daddr {address} drop; }}
}}
""",
    )
    try:
        yield
    finally:
        with suppress(CommandError):
            run("nft", "delete", "table", "ip", _TABLE)


@contextmanager
def killed(component: str) -> Iterator[None]:
    """Kill a component of the bare cluster; it is restarted at the end of the context."""
    pid_file = AT.pids / f"{component}.json"
    record = processes.read_record(pid_file)
    assert record is not None
    command = _arguments(processes.PROC / str(record.pid)).decode().rstrip("\0").split("\0")
    _signal(record, signal.SIGKILL)
    try:
        until(f"{component} has ended", lambda: not processes.alive(record), 10)
        yield
    finally:
        processes.spawn(command, pid_file, AT.logs / f"{component}.log")


# Observers


class Poller:
    """Client that polls the gateway's job list continuously."""

    def __init__(self, api: httpx.Client) -> None:
        self._api = api
        self.answers: list[tuple[float, float, str]] = []
        """Begin and end of each request, and its answer's code."""

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(0.3):
            began = time.monotonic()
            try:
                answer = str(self._api.get("/api/jobs", timeout=40).status_code)
            except httpx.TransportError as error:
                answer = type(error).__name__
            self.answers.append((began, time.monotonic(), answer))

    def refused(self, since: float, away: Sequence[tuple[float, float]]) -> list[str]:
        """Responses since then other than 200, except 503 while the API server was unavailable."""
        seen = Counter(
            answer
            for began, ended, answer in self.answers
            if ended >= since
            and answer != "200"
            and not (answer == "503" and any(began <= back and ended >= gone for gone, back in away))
        )
        return [f"gateway: {number} answers {answer}" for answer, number in seen.items()]


class Holders:
    """Observed holders of the Lease, with times."""

    def __init__(self, operators: Operators) -> None:
        self._operators = operators
        self.seen: list[tuple[float, str]] = []

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(0.1):
            with suppress(*_AWAY):
                self.seen.append((time.monotonic(), self._operators.leader()))

    def longest_gap(self, begin: float) -> float:
        """Longest time between the last sighting of one holder and the first of the next, since `begin`."""
        holders = [(at, who) for at, who in self.seen if at >= begin - 1 and who]
        return max((later - before for (before, one), (later, other) in pairwise(holders) if one != other), default=0.0)


# Resources


class Stream:
    """Continuous stream of small resources of the three kinds."""

    def __init__(self, world: ClusterWorld) -> None:
        self._world = world
        self._numbers = count()
        self._films = [self._film(number) for number in range(3)]
        self._lock = threading.Lock()
        self.open: dict[str, Kind] = {}
        self.paused = threading.Event()

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(_ARRIVAL_SECONDS):
            with self._lock, suppress(*_AWAY):
                if not self.paused.is_set() and len(self.open) < _IN_FLIGHT:
                    self._apply_next()

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Pause the stream, with no resource in progress."""
        self.paused.set()
        with self._lock:
            pass
        try:
            yield
        finally:
            self.paused.clear()

    def _apply_next(self) -> None:
        number = next(self._numbers)
        kind = list(Kind)[number % len(Kind)]
        name = f"{kind.short_name}-{number}"
        self._world.apply(kind, name, small_jobs.spec(kind, name, self._films[number % len(self._films)]))
        self.open[name] = kind

    def _film(self, number: int) -> str:
        name = f"takeovers-{number}.mp4"
        self._world.sandbox.put(f"/media/{name}", content=small_jobs.film(number)).raise_for_status()
        return f"{release.SANDBOX}/media/{name}"

    @property
    def slow_film(self) -> str:
        """URL of a video that downloads over some seconds."""
        return f"{self._films[0]}?seconds=8"


@contextmanager
def direct_world(root: Path, namespace: str) -> Iterator[ClusterWorld]:
    """World that connects to Services by address, without port-forwards through the API server.

    The bare cluster's Service addresses are reachable on this machine. The world is empty at the end.
    """
    address = service_address(root, "contentgen-sandbox")
    at = Addresses(http=f"{address}:80", s3=f"{address}:7070", mongodb=f"{address}:27017")
    with world_at(root, namespace, release.NAMESPACE, at) as world:
        yield world


def service_address(root: Path, name: str) -> str:
    """ClusterIP of a Service of the release."""
    where = ("--namespace", release.NAMESPACE, "get", "service", name)
    return release.kubectl(root, *where, "--output", "jsonpath={.spec.clusterIP}")


# Takeovers


class Takeovers:
    """Run of all takeovers."""

    def __init__(self, world: ClusterWorld) -> None:
        self._world = world
        self._operators = Operators(world)
        self._holders = Holders(self._operators)
        self._stream = Stream(world)
        self._numbers = count(1)
        self._api_away: list[tuple[float, float]] = []
        self._asked = 0
        self._billed_before = {
            purchase["request_id"] for purchase in world.billed()
        }  # also charges by mutants of other suites
        self.rows: list[LeaderTakeover] = []

    def run(
        self, chosen: Sequence[tuple[str, str]], say: Callable[[str], None] = lambda _: None
    ) -> list[LeaderTakeover]:
        """Run the takeovers in sequence; one row each, with its violations."""
        gateway = Gateway(self._world.root, f"http://{service_address(self._world.root, 'contentgen-gateway')}", 0)
        with tenant(gateway, self._world.namespace, "user123") as person, ExitStack() as stack:
            poller, stop = Poller(person.api), threading.Event()
            for work in (self._holders.run, self._stream.run, poller.run):
                thread = threading.Thread(target=work, args=(stop,), daemon=True)
                thread.start()
                stack.callback(thread.join, 20)
            stack.callback(stop.set)
            for fault, state in chosen:
                row = LeaderTakeover(next(self._numbers), fault, state)
                self.rows.append(row)
                began = time.monotonic()
                try:
                    self._one(row)
                except (Missed, *_AWAY) as error:
                    row.missed.append(f"{type(error).__name__}: {error}"[:300])
                row.missed += poller.refused(began, self._api_away)
                row.missed += self._paid_twice()
                say(line(row))
        return self.rows

    def _one(self, row: LeaderTakeover) -> None:
        until("a leader and a standby, both ready", self._operators.ready, _READY_SECONDS, 0.5)
        self._operators.replace_worn()
        until("a leader and a standby, both ready", self._operators.ready, _READY_SECONDS, 0.5)
        self._asked = 0
        name, kind = self._begin(row)
        leader = self._operators.leader()
        match row.fault:
            case "frozen":
                self._freeze(row, leader, name, kind)
            case "killed":
                process = self._at(row, leader, name)
                self._strike(row, leader, lambda: _signal(process, signal.SIGKILL))
            case "cut off":
                self._cut(row, leader, name, kind)
            case "rolled out":
                self._at(row, leader, name)
                self._roll_out(row)
            case "API server down":
                self._at(row, leader, name)
                self._without_api_server(row, leader)
        row.in_flight = len(self._on_their_way(name, kind))
        self._all_end(row, self._on_their_way(name, kind))

    def _on_their_way(self, name: str, kind: Kind) -> dict[str, Kind]:
        return {**self._stream.open, name: kind}

    # The state

    def _begin(self, row: LeaderTakeover) -> tuple[str, Kind]:
        """Create a resource that will reach the state."""
        name = f"{row.state}-{row.number}"
        delay = {"sending": "slow_accept", "submitted": "slow_model"}.get(row.state)
        if delay is not None:
            fault = {"provider": "fal", "model": _MODEL, "fault": delay, "count": 1, "delay_s": _HELD_SECONDS}
            self._world.sandbox.put("/sandbox/faults", json=[fault]).raise_for_status()
        kind = Kind.LORA_TRAINING if row.state == "preparing" else Kind.IMAGE_GENERATION
        self._world.apply(kind, name, small_jobs.spec(kind, name, self._stream.slow_film, "flux-schnell"))
        return name, kind

    def _at(self, row: LeaderTakeover, leader: str, name: str) -> Started:
        """Process of the leader, once the resource is in the state."""
        process = self._operators.process(leader.rpartition("_")[0])
        until(f"{name} is {row.state}", lambda: self._reached(row.state, name), 60, 0.002)
        row.found = self._state(name)
        return process

    def _reached(self, state: str, name: str) -> bool:
        if state in ("preparing", "collecting"):
            kind = "LoraTraining" if state == "preparing" else "ImageGeneration"
            phase = (self._world.get(kind, name).get("status") or {}).get("phase")
            return bool(phase == state.capitalize())
        found = self._state(name)
        return found == state or (state == "planned" and found != "")

    def _state(self, name: str) -> str:
        """State of the resource's purchase: planned, sending or later; empty before it."""
        found = self._world.ledger_collection.find_one({"_id": {"$regex": f"^{self._world.namespace}/.*/{name}/"}})
        if found is None:
            return ""
        return str(found["sendState"] if found["state"] == "intent" else found["state"])

    # Faults

    def _strike(self, row: LeaderTakeover, leader: str, strike: Callable[[], None]) -> None:
        began = time.monotonic()
        strike()
        self._succeeded(row, leader, began)

    def _succeeded(self, row: LeaderTakeover, leader: str, began: float) -> str:
        """Wait until another process leads and the endpoint points to it."""
        other = until("another process leads", lambda: self._other_than(leader), 2 * LEAD_SECONDS, 0.1)
        row.seconds = time.monotonic() - began
        pod = other.rpartition("_")[0]
        until("workers are led to the leader", lambda: self._operators.led_to() == pod, LEAD_SECONDS, 0.1)
        row.served = time.monotonic() - began
        return other

    def _other_than(self, leader: str) -> str:
        found = self._operators.leader()
        return found if found != leader else ""

    def _freeze(self, row: LeaderTakeover, leader: str, name: str, kind: Kind) -> None:
        process = self._at(row, leader, name)
        began = time.monotonic()
        with frozen(process):
            row.found = self._state(name)
            successor = self._succeeded(row, leader, began)
            with self._stream.pausing():
                self._go_on(name, kind, began + _THAW_SECONDS)
                before = self._finished()
        self._ended(row, leader, process)
        after = self._finished()
        row.missed += [f"{each} was changed by the former leader" for each in before if after.get(each) != before[each]]
        if self._operators.leader() != successor:
            row.missed.append("the former leader took the Lease back")

    def _cut(self, row: LeaderTakeover, leader: str, name: str, kind: Kind) -> None:
        process = self._at(row, leader, name)
        pod = self._operators.pod(leader.rpartition("_")[0])
        began = time.monotonic()
        with cut_off(pod.status.pod_ip):
            self._succeeded(row, leader, began)
            with self._stream.pausing():
                self._go_on(name, kind, began + _THAW_SECONDS)
        self._ended(row, leader, process)

    def _go_on(self, name: str, kind: Kind, deadline: float) -> None:
        """Let only the successor work until the resource's run has ended or the timeout expires."""
        while time.monotonic() < deadline:
            status = self._world.get(kind, name).get("status") or {}
            if status.get("phase") in ("Completed", "Failed"):
                self._recorded(name, kind)
                return
            time.sleep(0.3)

    def _ended(self, row: LeaderTakeover, leader: str, process: Started) -> None:
        """Wait until the former leader exits and its pod returns as a standby."""
        try:
            until("the former leader's process ends", lambda: not processes.alive(process), _EXIT_SECONDS)
        except Missed as error:
            row.missed.append(str(error))
        until("a leader and a standby, both ready", self._operators.ready, _READY_SECONDS, 0.5)
        if self._operators.leader() == leader:
            row.missed.append("the same process leads again")

    def _finished(self) -> dict[str, Any]:
        """Stored final resources, records and purchases."""
        found: dict[str, Any] = {}
        for body in self._world.resources():
            if (body.get("status") or {}).get("phase") == "Completed":
                uid = body["metadata"]["uid"]
                name = body["metadata"]["name"]
                found[f"resource {name}"] = (
                    body["metadata"]["resourceVersion"],
                    json.dumps(body["status"], sort_keys=True),
                )
                # The record is written after the status: one that has no end yet, the successor may still write.
                if record := self._world.jobs.find_one({"jobId": uid, "status": "completed"}):
                    found[f"record of {name}"] = str(record)
        for purchase in self._world.ledger_collection.find({"_id": {"$regex": f"^{self._world.namespace}/"}}):
            if purchase["state"] == "collected":
                found[f"purchase {purchase['_id']}"] = str(purchase)
        return found

    def _roll_out(self, row: LeaderTakeover) -> None:
        where = ("--namespace", release.NAMESPACE, "rollout")
        old = {pod.metadata.name for pod in self._operators.pods()}
        began = time.monotonic()
        release.kubectl(self._world.root, *where, "restart", "deployment/contentgen")
        release.kubectl(self._world.root, *where, "status", "deployment/contentgen", "--timeout=170s")
        until("a new pod leads", lambda: self._other_pod(old), _READY_SECONDS)
        row.seconds = self._holders.longest_gap(began)
        until("a leader and a standby, both ready", self._operators.ready, _READY_SECONDS, 0.5)
        row.served = row.seconds

    def _other_pod(self, old: set[str]) -> bool:
        leader = self._operators.leader()
        return bool(leader) and leader.rpartition("_")[0] not in old

    def _without_api_server(self, row: LeaderTakeover, leader: str) -> None:
        began = time.monotonic()
        # The controller manager is stopped too: at the API server's return it would regard our node as dead and remove
        # the endpoints of all Services for a minute.
        with self._stream.pausing(), killed("kube-controller-manager"):
            with killed("kube-apiserver"):
                time.sleep(_API_AWAY_SECONDS)
            until("the API server is back", self._operators.api_is_ready, 60)
            back = time.monotonic()
            self._api_away.append((began, back + _API_WARM_SECONDS))
            self._succeeded(row, leader, back)

    # Invariants

    def _all_end(self, row: LeaderTakeover, on_their_way: dict[str, Kind]) -> None:
        deadline = time.monotonic() + _END_SECONDS
        for name, kind in on_their_way.items():
            try:
                self._completed(name, kind, deadline)
            except (Missed, OracleViolation, *_AWAY) as error:
                row.missed.append(f"{name}: {error}"[:300])
            self._stream.open.pop(name, None)
        row.asked = self._asked
        if row.seconds > LEAD_SECONDS:
            row.missed.append(f"{row.seconds:.1f} s without a leader")

    def _completed(self, name: str, kind: Kind, deadline: float) -> None:
        ended = ("Completed", "Failed")
        until(
            f"{name} ends",
            lambda: (
                self._answered(name, kind) or (self._world.get(kind, name).get("status") or {}).get("phase") in ended
            ),
            max(deadline - time.monotonic(), 1),
            0.5,
        )
        self._recorded(name, kind)
        body = check_completed(self._world, kind, name)
        self._once_each(body["metadata"]["uid"])

    def _recorded(self, name: str, kind: Kind) -> None:
        """Wait for the end of the run in the record, which is written after the status."""
        ended = {"jobId": self._world.get(kind, name)["metadata"]["uid"], "status": {"$in": ["completed", "failed"]}}
        until(f"{name} has its record", lambda: self._world.jobs.find_one(ended), 60)

    def _answered(self, name: str, kind: Kind) -> bool:
        """Resolve SubmissionUnknown like a user, by the provider's bills."""
        body = self._world.get(kind, name)
        status = body.get("status") or {}
        if status.get("phase") != "SubmissionUnknown":
            return False
        token = status["run"].get("resubmitToken")  # absent while a store is unavailable
        if token not in (None, (body["metadata"].get("annotations") or {}).get(RESUBMIT_ANNOTATION)):
            self._asked += 1
            self._world.kubectl("annotate", kind.lower(), name, f"{RESUBMIT_ANNOTATION}={token}")
        return False

    def _once_each(self, uid: str) -> None:
        listed = self._world.kubectl("get", "jobs", "--selector", f"contentgen.dev/uid={uid}", "--output", "json")
        for job in json.loads(listed)["items"]:
            if (job.get("status") or {}).get("failed") or not job["metadata"]["name"].endswith("-1"):
                raise Missed(f"work was lost: {job['metadata']['name']}: {job.get('status')}")

    def _paid_twice(self) -> list[str]:
        """Requests with the same marker, of which each purchase has one."""
        fresh = [
            request
            for request in self._world.billed()
            if request["marker"] and request["request_id"] not in self._billed_before
        ]
        markers = Counter((each["model"], each["marker"]) for each in fresh)
        return [f"{number} requests {marker} at {model}" for (model, marker), number in markers.items() if number > 1]


# The table


def line(row: LeaderTakeover) -> str:
    """Formatted result of one takeover."""
    verdict = "; ".join(row.missed) or "ok"
    asked = f", a person asked {row.asked}×" if row.asked else ""
    return (
        f"| {row.number} | {row.fault} | {row.state} ({row.found or '-'}) | {row.seconds:.1f} | {row.served:.1f} "
        f"| {row.in_flight} | {verdict}{asked} |"
    )


def table(rows: Sequence[LeaderTakeover]) -> str:
    """Table of all takeovers, then median and maximum by fault."""
    head = "| | fault | state (purchase) | s without a leader | s until workers reach it | in flight | verdict |"
    lines = [head, "| --- | --- | --- | --- | --- | --- | --- |", *(line(row) for row in rows), ""]
    for fault in FAULTS:
        seconds = [row.seconds for row in rows if row.fault == fault]
        if seconds:
            middle, worst = statistics.median(seconds), max(seconds)
            lines.append(f"{fault}: {len(seconds)} times, median {middle:.1f} s, worst {worst:.1f} s")
    return "\n".join(lines)
