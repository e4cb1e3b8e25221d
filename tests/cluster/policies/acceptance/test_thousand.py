"""1,000 ImageGenerations of three namespaces in the queue: turns, messages, and the operator's memory and CPU.

`make acceptance` alone runs it. All wait before the first one starts: requests that never end have the places until
then. Most requests end with the model's own error, because a thousand workers say nothing about the queue and take an
hour; the last ones are collected.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from contentgen_cluster import release
from contentgen_contract.names import API_VERSION, GROUP, VERSION, Kind
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import ClusterWorld, TookTooLong, installed
from contentgen_simulation.queue_driver import Starts, fairness_holds

KIND = Kind.IMAGE_GENERATION
COUNTS = {"large": 900, "medium": 90, "small": 10}
TOTAL = sum(COUNTS.values())
PLACES = 3
COLLECTED = 60  # the last requests, whose pictures are stored by Jobs
MOST_MEMORY, MOST_CORES = 300_000_000, 1.0
WINDOW_SECONDS = 30.0
APPLIED_SECONDS, ENDED_SECONDS = 1200, 3600
MESSAGE = f"waiting for a place: all {PLACES} places of fal are in use (queues.maxConcurrent.fal)"
Body = dict[str, Any]


class OperatorUse:
    """Memory and CPU of the leader's process, by its own metrics."""

    def __init__(self, world: ClusterWorld) -> None:
        self._pod = world.operator_pod()
        self._samples: list[tuple[float, float]] = []  # monotonic time, and CPU seconds until then
        self.most_memory = 0.0
        self.look()

    def look(self) -> None:
        """Note the present memory and CPU time. Fails if the process was restarted since the last look."""
        used = self._read("process_cpu_seconds_total")
        assert not self._samples or used >= self._samples[-1][1], "the operator was restarted"
        self._samples.append((time.monotonic(), used))
        self.most_memory = max(self.most_memory, self._read("process_resident_memory_bytes"))

    @property
    def cores(self) -> float:
        """Average number of cores from the first look to the last one."""
        return _cores(self._samples[0], self._samples[-1])

    @property
    def most_cores(self) -> float:
        """Largest average over 30 s or little more: from each look back to the latest one at least 30 s before it."""
        first, most = 0, 0.0
        for last, sample in enumerate(self._samples):
            while first < last and sample[0] - self._samples[first + 1][0] >= WINDOW_SECONDS:
                first += 1
            if sample[0] - self._samples[first][0] >= WINDOW_SECONDS:
                most = max(most, _cores(self._samples[first], sample))
        return most

    def _read(self, name: str) -> float:
        path = f"/api/v1/namespaces/{release.NAMESPACE}/pods/{self._pod}:8080/proxy/metrics"
        families = text_string_to_metric_families(release.kubectl(ROOT, "get", "--raw", path))
        return next(sample.value for family in families for sample in family.samples if sample.name == name)


def _cores(first: tuple[float, float], last: tuple[float, float]) -> float:
    return (last[1] - first[1]) / (last[0] - first[0])


@pytest.fixture
def world() -> Iterator[ClusterWorld]:
    """Release with three places at fal, and one operator, which leads."""
    with installed(ROOT, "thousand", f"queues.maxConcurrent.fal={PLACES}", "replicas=1") as opened:
        yield opened


@pytest.fixture
def namespaces(world: ClusterWorld) -> Iterator[dict[str, str]]:
    """Namespace by the name of its size."""
    made = {size: f"{world.namespace}-{size}" for size in COUNTS}
    for name in made.values():
        release.make_namespace(ROOT, name)
    yield made
    for name in made.values():
        release.kubectl(ROOT, "delete", "namespace", name, "--wait=false")


def picture(namespace: str, name: str) -> Body:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND.value,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": "flux-dev", "prompt": name, "image": {"size": {"width": 256, "height": 256}}},
    }


def create(bodies: list[Body]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": bodies}
    release.kubectl(ROOT, "create", "--filename", "-", "--output", "name", stdin=json.dumps(listed))


def statuses(world: ClusterWorld, namespaces: dict[str, str]) -> list[Body]:
    """Status of each of the thousand."""
    lists = (
        world.api.list_namespaced_custom_object(GROUP, VERSION, namespace, KIND.plural)
        for namespace in namespaces.values()
    )
    return [body.get("status") or {} for rows in lists for body in rows["items"]]


def until(reached: Callable[[], bool], use: OperatorUse, seconds: float, about: Callable[[], str]) -> None:
    """Poll until `reached`, and note the operator's memory meanwhile. Raises TookTooLong."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise TookTooLong(f"after {seconds:.0f} s: {about()}")
        use.look()
        time.sleep(5)
    use.look()


def reasons(world: ClusterWorld, namespaces: dict[str, str]) -> Counter[str]:
    return Counter(str(status.get("reason")) for status in statuses(world, namespaces))


def starts_of(world: ClusterWorld, namespaces: dict[str, str], from_entry: int) -> Starts:
    """Paid requests in the order in which their runs got a place, with the namespaces that had waiting work.

    The provider's order differs: requests that got their places one after the other are sent at the same time.
    """
    sent = {request["request_id"] for request in world.billed()[from_entry:]}
    size_of = {namespace: size for size, namespace in namespaces.items()}
    fields = {"requestId": True, "namespace": True, "createdAt": True}
    found = list(world.ledger_collection.find({"namespace": {"$in": list(size_of)}}, fields))
    assert len(found) == TOTAL
    assert {purchase["requestId"] for purchase in found} == sent
    unsent, starts = Counter(COUNTS), list[tuple[str, frozenset[str]]]()
    for document in sorted(found, key=lambda each: each["createdAt"]):
        size = size_of[document["namespace"]]
        starts.append((size, frozenset(name for name, count in unsent.items() if count)))
        unsent[size] -= 1
    return starts


def test_a_thousand_resources_of_three_namespaces_take_turns(
    world: ClusterWorld, namespaces: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = {"provider": "fal", "model": "fal-ai/flux/dev"}
    world.sandbox.put("/sandbox/faults", json=[endpoint | {"fault": "stuck", "count": PLACES}]).raise_for_status()
    holding = [f"stuck-{number}" for number in range(PLACES)]
    create([picture(world.namespace, name) for name in holding])
    for name in holding:
        world.wait(KIND, name, lambda s: s.get("phase") == "Processing")
    paid, use = len(world.billed()), OperatorUse(world)

    bodies = [
        picture(namespaces[size], f"{size}-{number}") for size, count in COUNTS.items() for number in range(count)
    ]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(create, (bodies[at : at + 100] for at in range(0, TOTAL, 100))))
    until(
        lambda: reasons(world, namespaces) == {"Queued": TOTAL},
        use,
        APPLIED_SECONDS,
        lambda: str(reasons(world, namespaces)),
    )
    waiting = statuses(world, namespaces)
    assert {each["message"] for each in waiting} == {MESSAGE}
    submitted = [
        next(condition for condition in status["conditions"] if condition["type"] == "Submitted") for status in waiting
    ]
    assert {(each["status"], each["reason"]) for each in submitted} == {("False", "Queued")}
    assert len(world.billed()) == paid
    cores_applied = use.cores

    errors = endpoint | {"fault": "model_error", "count": TOTAL - COLLECTED}
    world.sandbox.put("/sandbox/faults", json=[errors]).raise_for_status()
    world.kubectl("delete", KIND.value.lower(), *holding, "--timeout=120s")
    until(
        lambda: all(status.get("phase") in ("Completed", "Failed") for status in statuses(world, namespaces)),
        use,
        ENDED_SECONDS,
        lambda: str(reasons(world, namespaces)),
    )
    starts = starts_of(world, namespaces, paid)
    use.look()
    cores, most_cores = use.cores, use.most_cores
    with capsys.disabled():
        print(  # noqa: T201 - the figures are the result of this run
            f"\n{TOTAL} resources: at most {use.most_memory / 1e6:.0f} MB; {cores_applied:.2f} cores until all waited, "
            f"{cores:.2f} on average until all ended, {most_cores:.2f} at most in {WINDOW_SECONDS:.0f} s"
        )
    assert Counter(size for size, _ in starts) == COUNTS
    assert fairness_holds(starts)
    assert reasons(world, namespaces) == {"ProviderFailed": TOTAL - COLLECTED, "Completed": COLLECTED}
    assert use.most_memory <= MOST_MEMORY
    assert cores_applied <= MOST_CORES
    assert cores <= MOST_CORES
    assert most_cores <= MOST_CORES
