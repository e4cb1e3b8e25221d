"""ContentBudgets of a test, many pictures at once, and an observer of the reservations outside the operator."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pymongo.errors import PyMongoError

from contentgen_cluster import release
from contentgen_contract.names import GROUP, VERSION
from contentgen_contract.resources.content_budget import dollars_of
from contentgen_e2e.world import Body, ClusterWorld, TookTooLong

KIND = "ImageGeneration"
ONE = 25_000  # micro-dollars of one megapixel by flux-dev
_LABEL = "budget"
_PAUSE_SECONDS = 0.1


def room(runs: int) -> str:
    """Limit with room for this number of pictures."""
    return dollars_of(runs * ONE)


class ClusterBudgets:
    """Budgets that count the pictures of the test's namespace, and what an observer saw of them."""

    def __init__(self, world: ClusterWorld) -> None:
        self._world = world
        self.names: list[str] = []
        self.observed = 0
        self.most = 0  # reserved money, in micro-dollars
        self.violations: list[Body] = []

    def add(self, letter: str, runs: int) -> str:
        """Create a budget with room for some pictures; returns its name."""
        name = f"{self._world.namespace}-{letter}"
        spec = {
            "limits": {"total": room(runs)},
            "scope": {"namespaceSelector": {"matchLabels": {_LABEL: self._world.namespace}}, "kinds": [KIND]},
        }
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "ContentBudget",
            "metadata": {"name": name},
            "spec": release.of_class(spec),
        }
        self._world.kubectl("apply", "--filename", "-", stdin=json.dumps(body))
        self.names.append(name)
        return name

    def change(self, name: str, runs: int) -> None:
        """Change a budget's limit."""
        limits = {"spec": {"limits": {"total": room(runs)}}}
        self._world.kubectl("patch", "contentbudget", name, "--type=merge", "--patch", json.dumps(limits))

    def windows(self) -> list[Body]:
        """Reservations of the budgets, from MongoDB."""
        return list(self._world.jobs.database["budgets"].find({"budget": {"$in": self.names}}))

    def reserved(self) -> int:
        """Number of purchases under way that have reserved money."""
        return max((len(each["open"]) for each in self.windows()), default=0)

    def watch(self, ended: threading.Event) -> None:
        """Read the reservations until the test has ended."""
        while not ended.wait(_PAUSE_SECONDS):
            try:
                found = self.windows()
            except PyMongoError:  # the forwarded port of a pod that is replaced
                continue
            self.observed += 1
            for each in found:
                reserved = sum(claim["micros"] for claim in each["open"].values())
                self.most = max(self.most, reserved)
                if reserved + each["settled"] > each["limit"] + each["overrun"]:
                    self.violations.append(each)


@contextmanager
def watched_budgets(world: ClusterWorld) -> Iterator[ClusterBudgets]:
    """Budgets, which are deleted at the end, and the observer, which has to have seen no violation."""
    budgets, ended = ClusterBudgets(world), threading.Event()
    world.kubectl("label", "namespace", world.namespace, f"{_LABEL}={world.namespace}", "--overwrite")
    observer = threading.Thread(target=budgets.watch, args=(ended,))
    observer.start()
    try:
        yield budgets
    finally:
        ended.set()
        observer.join()
        for name in budgets.names:
            world.kubectl("delete", "contentbudget", name)
        world.kubectl("label", "namespace", world.namespace, f"{_LABEL}-")
    assert budgets.observed > 0
    assert budgets.violations == []


def pictures(prompt: str) -> Body:
    """Spec of a picture that costs `ONE`."""
    return {"model": "flux-dev", "prompt": prompt, "image": {"size": {"width": 256, "height": 256}}}


def apply_at_once(world: ClusterWorld, prefix: str, count: int) -> list[str]:
    """Apply this number of pictures with one command; their names."""
    names = [f"{prefix}-{number}" for number in range(count)]
    items = [
        {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": name, "namespace": world.namespace},
            "spec": release.of_class(pictures(f"budgeted picture {name}")),
        }
        for name in names
    ]
    world.kubectl("apply", "--filename", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return names


def ended_or_held(world: ClusterWorld, names: Sequence[str], seconds: float) -> list[Body]:
    """Statuses of the pictures once each has ended, or waits for a budget."""
    return [world.wait(KIND, name, _is_ended_or_held, seconds)["status"] for name in names]


def _is_ended_or_held(status: Body) -> bool:
    return status.get("phase") in ("Completed", "Failed") or status.get("reason") == "BudgetExceeded"


def wait_for_completed(world: ClusterWorld, names: Sequence[str], count: int, seconds: float) -> None:
    """Poll until this number of the pictures is Completed. Raises TookTooLong."""
    deadline, wanted = time.monotonic() + seconds, set(names)
    while True:
        phases = {each["metadata"]["name"]: (each.get("status") or {}).get("phase") for each in world.resources()}
        done = sum(1 for name in wanted if phases.get(name) == "Completed")
        if done >= count:
            return
        if time.monotonic() > deadline:
            raise TookTooLong(f"{done} of {count} pictures are Completed after {seconds:.0f} s")
        time.sleep(1)
