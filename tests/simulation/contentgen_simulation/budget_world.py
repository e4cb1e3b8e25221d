"""Many runs at once under ContentBudgets, and an observer outside the operator that checks the books after each write.

The observer reads the collections `budgets` and `ledger`, the statuses of the ContentBudgets and the provider's POSTs;
it uses no code of the operator.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from contentgen_contract.names import Kind, Reason
from contentgen_simulation.world import SPECS, World, Writes

IMAGES = Kind.IMAGE_GENERATION
ONE = 70_000  # micro-dollars of SPECS[IMAGES]: two pictures of one megapixel by flux-lora
_OF_MONEY = ("claim of budgets", "release of budgets", "intend", "sending", "POST", "move")
_UNPAID = ("refused",)


def budget_of(name: str = "all", uid: str = "", **spec: Any) -> dict[str, Any]:
    """ContentBudget as the API server returns it."""
    metadata = {"name": name, "uid": uid or f"uid-of-{name}", "generation": 1, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": spec}


def _charge_of(purchase: dict[str, Any]) -> float:
    known = (purchase.get(name) for name in ("billedMicros", "actualMicros"))
    return next((each for each in known if each is not None), float("inf"))


class ObservedWrites(Writes):
    """Observed writes. `freeze`: a write, its number, and what happens while the process is frozen after it."""

    def __init__(self) -> None:
        super().__init__()
        self.observe: Callable[[], None] = lambda: None
        self.freeze: tuple[str, int, Callable[[], Awaitable[None]]] | None = None

    async def __call__(self, name: str, write: Callable[[], Awaitable[Any]]) -> Any:
        """The result of the write."""
        result = await super().__call__(name, write)
        if name.startswith(_OF_MONEY):
            self.observe()
        if self.freeze is not None and self.freeze[:2] == (name, self.done.count(name)):
            meanwhile, self.freeze = self.freeze[2], None
            await meanwhile()
        return result


class BudgetWorld(World):
    """World with budgets and an observer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *budgets: dict[str, Any], count: int = 1) -> None:
        """`count`: ImageGenerations, which are applied at once."""
        self.observed = 0
        writes = self.observed_writes = ObservedWrites()
        super().__init__(monkeypatch, writes)
        writes.observe = self.check_books
        self.kube.budgets = list(budgets)
        self.names_of_images = [f"image-{number}" for number in range(count)]
        for name in self.names_of_images:
            self.kube.apply(IMAGES, SPECS[IMAGES] | {"prompt": name}, f"uid-{name}", name)

    def windows(self) -> dict[str, dict[str, Any]]:
        """Documents of the windows by id."""
        return {budget["_id"]: budget for budget in self.database["budgets"].find()}

    def check_books(self) -> None:
        """Reserved and spent money does not exceed a limit, except for the reported overrun, and includes each
        purchase that may be paid.
        """
        self.observed += 1
        for window in self.windows().values():
            reserved = sum(claim["micros"] for claim in window["open"].values())
            assert reserved + window["spent"] <= window["limit"] + window["overrun"], window
            assert window["held"] == reserved + window["spent"], window
            assert sorted(window["keys"]) == sorted(window["open"]), window
            assert self._least(window["_id"]) <= window["held"], window

    def _least(self, window: str) -> float:
        """Minimum cost of a window's purchases that may be paid: the bound, or the charge if it is less."""
        paid = [request for request in self.sent() if window in request["budgets"]]
        return sum((min(_charge_of(each), float(each["boundMicros"] or 0)) for each in paid), 0.0)

    def check_payments(self) -> None:
        """The purchases that the ledger has as sent are within each limit; so are the statuses."""
        limits = {name: each_window["limit"] for name, each_window in self.windows().items()}
        paid = dict.fromkeys(limits, 0)
        for request in self.sent():
            for window in request["budgets"]:
                paid[window] = paid.get(window, 0) + (request["boundMicros"] or 0)
        assert all(paid[name] <= limits[name] for name in limits), paid
        for budget in self.kube.budgets:
            for each_window in budget.get("status", {}).get("windows", ()):
                held = Decimal(each_window["reserved"]) + Decimal(each_window["spent"])
                assert held <= Decimal(each_window["limit"]) + Decimal(each_window["overrun"]), each_window

    def sent(self) -> list[dict[str, Any]]:
        """Purchases that were sent."""
        found = self.database["ledger"].find()
        return [
            each
            for each in found
            if each["state"] not in _UNPAID and (each["state"] != "intent" or each["sendState"] != "planned")
        ]

    @property
    def charged(self) -> int:
        """Sum of the upper bounds of all purchases that were sent, in micro-dollars."""
        return sum(request["boundMicros"] for request in self.sent())

    async def rounds(self, count: int) -> None:
        """Reconcile all images, each at the same time."""
        for _ in range(count):
            for name in self.names_of_images:
                before = self.now
                await self.reconcile(IMAGES, name)
                self.now = before
            self.check_books()
            self.check_payments()
            self.now += timedelta(seconds=300)

    async def summed(self) -> None:
        """A thorough round over all windows, which also writes the statuses."""
        await self.keep_budgets(thorough=True)
        self.check_books()
        self.check_payments()

    def waiting(self) -> list[str]:
        """Messages of the images that wait for a budget."""
        found = [self.status(IMAGES, name) for name in self.names_of_images]
        return [each.message or "" for each in found if each.reason == Reason.BUDGET_EXCEEDED]
