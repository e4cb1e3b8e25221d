"""The claim of an operator class: an OperatorClass object of its name, whose owner the API server keeps immutable.

The process that leads creates it, or finds it its own installation's, before it begins to work. Where another
installation owns it, the process does nothing and says so, and looks again. While it works it goes on looking: it
creates a deleted object again, and ends where another installation has.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Protocol

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.api_paths import OPERATOR_CLASSES
from contentgen_contract.resources.operator_class import ClassOwner, owner_of
from contentgen_operator.leader.leadership import Leadership
from contentgen_runtime.kube import API_ERRORS, Body, Conflict, KubeApi, explain

_log = logging.getLogger(__name__)
_WAITING_SECONDS = 10.0  # between two looks of an installation that waits for the class
_WORKING_SECONDS = 5.0  # of the one that works: where the object was deleted, it is in most cases the first to see it
_REQUEST_SECONDS = 5.0
Sleep = Callable[[float], Awaitable[None]]


class ClassOwnership(Enum):
    """Owner of the operator class, as the API server has told it."""

    MINE = auto()
    ANOTHERS = auto()
    UNCERTAIN = auto()  # the API server did not answer, or does not know OperatorClasses


class ClassStore(Protocol):
    """The one OperatorClass. Both may raise one of API_ERRORS."""

    async def read(self) -> Body | None:
        """None where there is none, or where the API server does not know the kind."""
        ...

    async def create(self, owner: ClassOwner) -> Body:
        """Raises Conflict where there is one."""
        ...


class KubeClass:
    """An OperatorClass in Kubernetes."""

    def __init__(self, kube: KubeApi, name: str) -> None:
        self._kube = kube
        self._name = name

    async def read(self) -> Body | None:
        """As ClassStore's."""
        return await self._kube.get(OPERATOR_CLASSES, None, self._name, asked_by="the claim of the operator class")

    async def create(self, owner: ClassOwner) -> Body:
        """As ClassStore's."""
        body = {
            "apiVersion": OPERATOR_CLASSES.api_version,
            "kind": OPERATOR_CLASSES.kind,
            "metadata": {"name": self._name, "labels": {"app.kubernetes.io/managed-by": "contentgen"}},
            "spec": {"owner": owner.model_dump(mode="json")},
        }
        try:
            return await self._kube.request("POST", OPERATOR_CLASSES, body=body)
        except ApiException as error:
            if error.status == 409:
                raise Conflict("another installation was quicker") from error
            raise


class ClassClaim:
    """Of one class, for one installation. `announce` is given each new problem, for people."""

    def __init__(
        self,
        store: ClassStore,
        name: str,
        me: ClassOwner,
        leadership: Leadership,
        announce: Callable[[str], Awaitable[None]],
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._store = store
        self._name = name
        self._me = me
        self._leadership = leadership
        self._announce = announce
        self._sleep = sleep
        self._held = False
        self._problem = ""

    @property
    def held(self) -> bool:
        """Whether this installation owned the class at the last look that told."""
        return self._held

    @property
    def problem(self) -> str:
        """Why nothing is worked on, for the readiness; empty while the class is held."""
        return "" if self._held else self._problem

    async def watched(self) -> None:
        """For a standby, until cancelled: a class of another installation is a problem of its readiness, too. It claims
        nothing.
        """
        while True:
            await self._look(self._store.read)
            await self._sleep(_WAITING_SECONDS)

    async def acquired(self) -> None:
        """Until this installation owns the class."""
        while await self._look(self._read_or_created) is not ClassOwnership.MINE:
            await self._sleep(_WAITING_SECONDS)
        self._held = True
        _log.info("the operator class %s is served by this installation", self._name)

    async def kept(self) -> None:
        """Until another installation owns the class: then this process does not lead any more.

        While the API server does not answer, the Lease decides.
        """
        while await self._look(self._read_or_created) is not ClassOwnership.ANOTHERS:
            await self._sleep(_WORKING_SECONDS)
        self._held = False
        self._leadership.revoke(self._problem)
        _log.error("this process does not lead any more: %s", self._problem)

    async def _read_or_created(self) -> Body | None:
        return await self._store.read() or await self._store.create(self._me)

    async def _look(self, ask: Callable[[], Awaitable[Body | None]]) -> ClassOwnership:
        held, problem = await self._found(ask)
        if problem != self._problem:
            self._problem = problem
            if problem:
                _log.warning("%s", problem)
                await self._announced(problem)
        return held

    async def _announced(self, problem: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REQUEST_SECONDS):
                await self._announce(problem)

    async def _found(self, ask: Callable[[], Awaitable[Body | None]]) -> tuple[ClassOwnership, str]:
        """The owner, and the problem as a message for people; empty where there is none."""
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                body = await ask()
        except Conflict as error:
            return ClassOwnership.UNCERTAIN, f"the operator class {self._name} is not claimed yet: {error}"
        except API_ERRORS as error:
            return ClassOwnership.UNCERTAIN, self._failure(error)
        if body is None:
            return ClassOwnership.UNCERTAIN, ""
        owner = owner_of(body)
        if owner == self._me:
            return ClassOwnership.MINE, ""
        return ClassOwnership.ANOTHERS, self._of_another(owner)

    def _failure(self, error: Exception) -> str:
        cause = explain(error)
        if getattr(error, "status", None) == 404:
            cause = "the CRD operatorclasses.contentgen.dev is not installed (crds.install, or crds/ in the repository)"
        return f"the operator class {self._name} cannot be claimed: {cause}"

    def _of_another(self, owner: ClassOwner | None) -> str:
        return (
            f"the operator class {self._name} is served by {owner or 'an owner that cannot be read'}, and this "
            "installation does nothing. Set another operatorClass in its values, or uninstall the other one; if that "
            f"is gone already: kubectl delete operatorclass {self._name}"
        )
