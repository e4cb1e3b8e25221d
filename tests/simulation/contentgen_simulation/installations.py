"""Two installations of different operator classes over one API server."""

import copy
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator import act, reconcile
from contentgen_operator.kube.selection import Selection
from contentgen_operator.providers.sending import BeforeSend
from contentgen_operator.state.provider_requests import Call
from contentgen_simulation.world import SPECS, UID, FakeProvider, World, Writes

BATCH = "batch"
"""The class of the second installation; the first one serves the default one."""


class AnotherAccount(FakeProvider):
    """Second provider account with its own request ids."""

    async def submit(self, call: Call, before_send: BeforeSend) -> str:
        request_id = await super().submit(call, before_send)
        return f"request-{1000 + int(request_id.removeprefix('request-'))}"


class Installations:
    """Two releases with one API server; `shared`: also with one database and bucket."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, shared: bool) -> None:
        self.first, self.second = World(monkeypatch, Writes()), World(monkeypatch, Writes())
        self.second.kube = self.first.kube
        self.second.selection = Selection(BATCH)
        self.second.provider = AnotherAccount(self.second.writes, lambda: self.first.now)
        if shared:
            self.second.database, self.second.storage = self.first.database, self.first.storage
        for module in (reconcile, act):
            monkeypatch.setattr(module, "utc_now", lambda: self.first.now)
        for each in self.all:
            each.restart()

    @property
    def all(self) -> tuple[World, World]:
        return self.first, self.second

    @property
    def paid(self) -> tuple[int, int]:
        """Numbers of POSTs of both installations."""
        return len(self.first.provider.posts), len(self.second.provider.posts)

    def body(self, kind: Kind) -> dict[str, Any]:
        return self.first.kube.resources[kind, "it"]

    def status(self, kind: Kind) -> ResourceStatus:
        return self.first.status(kind)

    def apply(self, kind: Kind, to: str = DEFAULT_CLASS, uid: str = UID, **spec: Any) -> None:
        """Create or edit a resource in a class, keeping its annotations."""
        known = self.first.kube.resources.get((kind, "it"))
        annotations = known["metadata"]["annotations"] if known and known["metadata"]["uid"] == uid else {}
        wanted = copy.deepcopy(SPECS[kind]) | spec | ({} if to == DEFAULT_CLASS else {"operatorClass": to})
        self.first.kube.apply(kind, wanted, uid=uid, **annotations)

    async def go_on(self, kind: Kind, reconciles: int = 60, *, restart: bool = True) -> ResourceStatus:
        """Run both operators, restarted first unless `restart` is false."""
        for each in self.all if restart else ():
            each.restart()
        for _ in range(reconciles):
            for each in self.all:
                each.now = max(world.now for world in self.all)
                await each.reconcile(kind)
        return self.status(kind)
