"""Ownership of an operator class: an OperatorClass object of that name, whose owner the API server keeps immutable.

The leader creates the object, or finds its own installation as the owner, before it starts work. If another
installation owns it, the process does nothing, reports the problem and checks again. While it works it continues to
check: it creates a deleted object again, and ends if another installation owns it by then.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.api_paths import OPERATOR_CLASSES
from contentgen_contract.resources.operator_class import ClassOwner, owner_of
from contentgen_operator.leader.leadership import Leadership
from contentgen_runtime.kube import API_ERRORS, Body, Conflict, KubeApi, explain

_log = logging.getLogger(__name__)
_WAITING_SECONDS = 10.0  # between two checks while waiting for the class
_WORKING_SECONDS = 5.0  # between two checks while working: usually the first to notice a deleted object
_REQUEST_SECONDS = 5.0
Sleep = Callable[[float], Awaitable[None]]


class ClassOwnership(Enum):
    """Owner of the operator class, by the last response of the API server."""

    MINE = auto()
    ANOTHERS = auto()
    UNCERTAIN = auto()  # no response, or the kind is not installed


class ClassStore(Protocol):
    """Access to the OperatorClass. Both methods may raise one of API_ERRORS."""

    async def read(self) -> Body | None:
        """None if the object, or the kind, does not exist."""
        ...

    async def create(self, owner: ClassOwner) -> Body:
        """Raises Conflict if the object exists."""
        ...


class KubeClass:
    """OperatorClass of the Kubernetes API."""

    def __init__(self, kube: KubeApi, name: str) -> None:
        self._kube = kube
        self._name = name

    async def read(self) -> Body | None:
        """See ClassStore."""
        return await self._kube.get(OPERATOR_CLASSES, None, self._name, asked_by="the owner of the operator class")

    async def create(self, owner: ClassOwner) -> Body:
        """See ClassStore."""
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
                raise Conflict("another installation was faster") from error
            raise


@dataclass
class ClassHolder:
    """Ownership of one class by one installation. `announce` gets each new problem, as a message for users."""

    store: ClassStore
    name: str
    me: ClassOwner
    leadership: Leadership
    announce: Callable[[str], Awaitable[None]]
    sleep: Sleep = asyncio.sleep
    _owned: bool = field(default=False, init=False)
    _problem: str = field(default="", init=False)

    @property
    def held(self) -> bool:
        """True if this installation owned the class at the last conclusive check."""
        return self._owned

    @property
    def problem(self) -> str:
        """Why the class is not owned, for the readiness; empty if it is."""
        return "" if self._owned else self._problem

    async def watched(self) -> None:
        """Only read until cancelled, on a standby: a class of another installation makes it unready."""
        while True:
            await self._check_owner(self.store.read)
            await self.sleep(_WAITING_SECONDS)

    async def acquired(self) -> None:
        """Wait until this installation owns the class."""
        while await self._check_owner(self._read_or_created) is not ClassOwnership.MINE:
            await self.sleep(_WAITING_SECONDS)
        self._owned = True
        _log.info("the operator class %s is served by this installation", self.name)

    async def kept(self) -> None:
        """Check until another installation owns the class: then this process stops leading.

        While the API server does not respond, the Lease decides.
        """
        while await self._check_owner(self._read_or_created) is not ClassOwnership.ANOTHERS:
            await self.sleep(_WORKING_SECONDS)
        self._owned = False
        self.leadership.revoke(self._problem)
        _log.error("this process does not lead any more: %s", self._problem)

    async def _read_or_created(self) -> Body | None:
        return await self.store.read() or await self.store.create(self.me)

    async def _check_owner(self, ask: Callable[[], Awaitable[Body | None]]) -> ClassOwnership:
        held, problem = await self._read_owner(ask)
        if problem != self._problem:
            self._problem = problem
            if problem:
                _log.warning("%s", problem)
                await self._announced(problem)
        return held

    async def _announced(self, problem: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REQUEST_SECONDS):
                await self.announce(problem)

    async def _read_owner(self, ask: Callable[[], Awaitable[Body | None]]) -> tuple[ClassOwnership, str]:
        """Owner and problem; the problem is a message for users, empty if there is none."""
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                body = await ask()
        except Conflict as error:
            return ClassOwnership.UNCERTAIN, f"the operator class {self.name} has no owner yet: {error}"
        except API_ERRORS as error:
            return ClassOwnership.UNCERTAIN, self._failure(error)
        if body is None:
            return ClassOwnership.UNCERTAIN, ""
        owner = owner_of(body)
        if owner == self.me:
            return ClassOwnership.MINE, ""
        return ClassOwnership.ANOTHERS, self._of_another(owner)

    def _failure(self, error: Exception) -> str:
        cause = explain(error)
        if getattr(error, "status", None) == 404:
            cause = "the CRD operatorclasses.contentgen.dev is not installed (crds.install, or crds/ in the repository)"
        return f"the operator class {self.name} cannot be owned: {cause}"

    def _of_another(self, owner: ClassOwner | None) -> str:
        return (
            f"the operator class {self.name} is served by {owner or 'an owner that cannot be read'}, and this "
            "installation does nothing. Set another operatorClass in its values, or uninstall the other one; if that "
            f"is gone already: kubectl delete operatorclass {self.name}"
        )
