"""Budgets of the cluster that count a run. They are listed before each payment, at most every second.

A watch could be silent for minutes while a limit is lowered; a list is never older than `_FRESH_SECONDS`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind
from contentgen_contract.resources.content_budget import ContentBudget
from contentgen_contract.resources.operator_class import DEFAULT_CLASS, class_of
from contentgen_operator.kube.api import Kube

_FRESH_SECONDS = 1.0
_NOT_FOUND = 404


class Budgets:
    """ContentBudgets of one operator class: another class may have another ledger."""

    def __init__(
        self, kube: Kube, operator_class: str = DEFAULT_CLASS, clock: Callable[[], float] = time.monotonic
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
        mine = (body for body in bodies if class_of(body) == self._class)
        return tuple(sorted(map(ContentBudget.parse, mine), key=lambda each: each.uid))

    async def matching(
        self, labels: Mapping[str, str], provider: str, kind: Kind, user: str
    ) -> tuple[ContentBudget, ...]:
        """Budgets that count a run in a namespace with these labels; unreadable ones count every run. Raises one of
        API_ERRORS.
        """
        return tuple(
            each
            for each in await self.all()
            if each.spec is None or each.spec.scope.includes(labels=labels, provider=provider, kind=kind, user=user)
        )
