"""Budgets of the cluster that count a run. They are listed before each payment, at most every second.

A watch could be silent for minutes while a limit is lowered; a list is never older than `_FRESH_SECONDS`.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind
from contentgen_contract.resources.content_budget import ContentBudget
from contentgen_contract.resources.operator_class import DEFAULT_CLASS, class_of
from contentgen_runtime.kube import Conflict

_FRESH_SECONDS = 1.0
_NOT_FOUND = 404


class BudgetReader(Protocol):
    """Access to ContentBudgets and namespaces of the API server."""

    async def content_budgets(self) -> list[dict[str, Any]]:
        """All ContentBudgets."""
        ...

    async def get_namespace(self, name: str) -> dict[str, Any] | None:
        """Get a namespace; None if it does not exist."""
        ...


class Budgets:
    """ContentBudgets of one operator class: another class may have another ledger."""

    def __init__(
        self, kube: BudgetReader, operator_class: str = DEFAULT_CLASS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kube = kube
        self._class = operator_class
        self._clock = clock
        self._lock = asyncio.Lock()
        self._listed: tuple[float, tuple[ContentBudget, ...]] | None = None

    async def all(self) -> tuple[ContentBudget, ...]:
        """All budgets, in the order in which purchases claim. Raises one of API_ERRORS."""
        async with self._lock:
            if self._listed is None or not 0 <= self._clock() - self._listed[0] < _FRESH_SECONDS:
                asked = self._clock()
                self._listed = asked, await self._read()
            return self._listed[1]

    async def _read(self) -> tuple[ContentBudget, ...]:
        try:
            bodies = await self._kube.content_budgets()
        except ApiException as error:
            if error.status == _NOT_FOUND:  # the kind is not installed, so there is no budget
                return ()
            raise
        mine = (each for each in bodies if class_of(each) == self._class)
        return tuple(sorted(map(ContentBudget.parse, mine), key=lambda each: each.uid))

    async def matching(self, namespace: str, provider: str, kind: Kind, user: str) -> tuple[ContentBudget, ...]:
        """Budgets that count a run; unreadable ones count every run. Raises one of API_ERRORS, and Conflict if
        the namespace is gone.
        """
        budgets = await self.all()
        labels: dict[str, str] = {}
        if any(each.spec is not None and each.spec.scope.namespace_selector is not None for each in budgets):
            labels = await self._labels(namespace)
        return tuple(
            each
            for each in budgets
            if each.spec is None or each.spec.scope.includes(labels=labels, provider=provider, kind=kind, user=user)
        )

    async def _labels(self, namespace: str) -> dict[str, str]:
        body = await self._kube.get_namespace(namespace)
        if body is None:  # without labels, a budget that selects by them would not count the run
            raise Conflict(f"namespace {namespace} is gone")
        return dict(body["metadata"].get("labels") or {})
