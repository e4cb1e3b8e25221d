"""ContentBudgets of a test, many pictures at once, and an observer of the reservations outside the operator."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pymongo.errors import PyMongoError

from contentgen_cluster import release
from contentgen_contract.names import GROUP, VERSION
from contentgen_contract.resources.content_budget import dollars_of
from contentgen_e2e.world import Body, ClusterWorld, TookTooLong

KIND = "ImageGeneration"
ONE = 25_000  # micro-dollars of one megapixel by flux-dev
_LABEL = "budget"
_PAUSE_SECONDS = 0.1
_OBSERVED_PER_SECOND = 0.5  # at least, on a machine with other suites
_SUMMED_SECONDS = 120.0  # after the end of the last run; the operator sums up every five seconds


def room(runs: int) -> str:
    """Limit with room for this number of pictures."""
    return dollars_of(runs * ONE)


def charged(bills: Sequence[Body]) -> int:
    """Sum of charges of the sandbox, in micro-dollars."""
    return int(sum((Decimal(bill["amount_usd"]) for bill in bills), Decimal()) * 1_000_000)


class ClusterBudgets:
    """Budgets of a month that count the pictures of the test's namespace, and what an observer saw of them."""

    def __init__(self, world: ClusterWorld) -> None:
        self._world = world
        self._month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        self._limits: dict[str, int] = {}  # of the specs, in micro-dollars
        self.observed = 0
        self.most = 0  # reserved money, in micro-dollars
        self.violations: list[Body] = []

    def add(self, letter: str, runs: int) -> str:
        """Create a budget with room for some pictures; returns its name."""
        name = f"{self._world.namespace}-{letter}"
        spec = {
            "limits": {"month": room(runs)},
            "scope": {"namespaceSelector": {"matchLabels": {_LABEL: self._world.namespace}}, "kinds": [KIND]},
        }
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "ContentBudget",
            "metadata": {"name": name},
            "spec": release.of_class(spec),
        }
        self._limits[name] = runs * ONE
        self._world.kubectl("apply", "--filename", "-", stdin=json.dumps(body))
        return name

    def raise_to(self, name: str, runs: int) -> None:
        """Raise a budget's limit."""
        limits = {"spec": {"limits": {"month": room(runs)}}}
        self._limits[name] = runs * ONE
        self._world.kubectl("patch", "contentbudget", name, "--type=merge", "--patch", json.dumps(limits))

    def message(self, name: str, runs: int) -> str:
        """Message of a run that waits for a budget whose room for these runs is used."""
        resets = (self._month + timedelta(days=32)).replace(day=1)
        return (
            f"the run may cost ${dollars_of(ONE)}, and ContentBudget {name} has $0.00 of ${room(runs)} left this "
            f"month; it waits until {resets:%Y-%m-%d} 00:00 UTC, or until runs cost less than they have reserved, and "
            "nothing is paid until then"
        )

    @property
    def names(self) -> list[str]:
        return list(self._limits)

    def windows(self) -> list[Body]:
        """Reservations of the budgets, from MongoDB."""
        return list(self._world.jobs.database["budgets"].find({"budget": {"$in": self.names}}))

    def summed(self) -> list[Body]:
        """The windows once no reservation is open. Raises TookTooLong."""
        deadline = time.monotonic() + _SUMMED_SECONDS
        while self.reserved():
            if time.monotonic() > deadline:
                raise TookTooLong(f"open reservations after {_SUMMED_SECONDS:.0f} s: {self.windows()}")
            time.sleep(1)
        return self.windows()

    def end_month(self, name: str) -> None:
        """Make a budget's summed window, and its purchases, those of the last month.

        The operator's clock cannot be moved on a cluster. The purchases are renamed first: a window without a document
        is summed from the ledger. A reservation that is made meanwhile stays.
        """
        windows, ledger = self._world.jobs.database["budgets"], self._world.ledger_collection
        now = f"month-{self._month:%Y-%m}"
        (window,) = (each_window for each_window in windows.find({"budget": name}) if each_window["_id"].endswith(now))
        earlier = window["_id"].removesuffix(now) + f"month-{self._month - timedelta(days=1):%Y-%m}"
        windows.insert_one(window | {"_id": earlier, "resetsAt": self._month})
        for purchase in ledger.find({"budgets": window["_id"]}, {"budgets": True}):
            named = [earlier if id_ == window["_id"] else id_ for id_ in purchase["budgets"]]
            ledger.update_one({"_id": purchase["_id"]}, {"$set": {"budgets": named}})
        windows.delete_one({"_id": window["_id"], "open": {}})

    def reserved(self) -> int:
        """Number of purchases under way that have reserved money."""
        return max((len(window["open"]) for window in self.windows()), default=0)

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
                if reserved + each["spent"] > self._limits[each["budget"]] + each["overrun"]:
                    self.violations.append(each)


@contextmanager
def watched_budgets(world: ClusterWorld) -> Iterator[ClusterBudgets]:
    """Budgets, which are deleted at the end, and the observer, which has to have seen reservations and no violation."""
    budgets, ended = ClusterBudgets(world), threading.Event()
    world.kubectl("label", "namespace", world.namespace, f"{_LABEL}={world.namespace}", "--overwrite")
    observer = threading.Thread(target=budgets.watch, args=(ended,))
    observer.start()
    began = time.monotonic()
    try:
        yield budgets
    finally:
        ended.set()
        observer.join()
        observed_seconds = time.monotonic() - began
        for name in budgets.names:
            world.kubectl("delete", "contentbudget", name, "--ignore-not-found")
        world.kubectl("label", "namespace", world.namespace, f"{_LABEL}-")
    assert budgets.violations == []
    assert budgets.most > 0, "it has seen reserved money"
    assert budgets.observed >= observed_seconds * _OBSERVED_PER_SECOND


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
        phases = {
            resource["metadata"]["name"]: (resource.get("status") or {}).get("phase") for resource in world.resources()
        }
        done = sum(1 for name in wanted if phases.get(name) == "Completed")
        if done >= count:
            return
        if time.monotonic() > deadline:
            raise TookTooLong(f"{done} of {count} pictures are Completed after {seconds:.0f} s")
        time.sleep(1)
