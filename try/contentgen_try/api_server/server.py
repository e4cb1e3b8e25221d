"""The server as an ASGI application."""

import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from contentgen_try.api_server.auth import rights
from contentgen_try.api_server.auth.rights import GATEWAY, OPERATOR, SYSTEM_NAMESPACE, USER
from contentgen_try.api_server.auth.tokens import Caller, Tokens
from contentgen_try.api_server.refusals import Body, Refusal, unknown_path
from contentgen_try.api_server.schemas.resource_types import (
    BUILT_IN,
    CRDS,
    NAMESPACES,
    SERVICE_ACCOUNTS,
    Registry,
    load_crds,
)
from contentgen_try.api_server.storage import metadata
from contentgen_try.api_server.storage.objects import Objects
from contentgen_try.api_server.storage.state_file import BadState, StateFile
from contentgen_try.api_server.storage.store import Store
from contentgen_try.api_server.web import discovery
from contentgen_try.api_server.web.access import authenticate, is_open, require_loopback_name
from contentgen_try.api_server.web.content import answer, read_object, refused
from contentgen_try.api_server.web.paths import place_of
from contentgen_try.api_server.web.requests import ResourceRequests
from contentgen_try.api_server.web.reviews import review

_NAMESPACES = ("default", "kube-system", SYSTEM_NAMESPACE)
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_log = logging.getLogger(__name__)


class ApiServer:
    """One server with its objects. With a state folder, which it locks until `close`, persistent objects are durable.

    `logs` is the folder with the pods' logs, NAMESPACE/POD.log. Raises BadCrd, or BadState.
    """

    def __init__(self, crds: Path, state: Path | None = None, *, logs: Path | None = None) -> None:
        bodies, types = load_crds(crds)
        self.registry = Registry((*BUILT_IN, *types))
        self._file = StateFile(state) if state is not None else None
        try:
            self.store = Store(self._file, self._file.last_version() if self._file is not None else 0)
            self._load()
        except BadState:
            self.close()
            raise
        self.objects = Objects(self.store, self.registry)
        self.tokens = Tokens(self.store)
        self._requests = ResourceRequests(self.objects, self.tokens, logs)
        self._furnish(bodies)
        self.app = Starlette(routes=[Route("/{path:path}", self._respond, methods=_METHODS)], lifespan=self._lifespan)

    @property
    def admin_token(self) -> str:
        """Token of the administrator."""
        return self.tokens.admin

    def close(self) -> None:
        """End all watches, and release the state folder."""
        if self._file is not None:
            self._file.close()

    def end_watches(self) -> None:
        """End all watches, so that the server can stop."""
        self.store.end_watches()

    def _load(self) -> None:
        for body in self._file.objects() if self._file is not None else ():
            kind = self.registry.of_kind(body["apiVersion"], body["kind"])
            if kind is None:
                raise BadState(f"the state has a {body['kind']} of {body['apiVersion']}, which no CRD defines")
            self.store.load(kind, body)

    def _furnish(self, crds: list[Body]) -> None:
        for name in _NAMESPACES:
            self.objects.ensure(NAMESPACES, "", name)
        self.objects.furnish_all()
        for name in (OPERATOR, GATEWAY, USER):
            self.objects.ensure(SERVICE_ACCOUNTS, SYSTEM_NAMESPACE, name)
        for crd in crds:
            own, _ = metadata.cleaned(crd["metadata"])
            accepted = {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts"}
            established = {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"}
            versions = [version["name"] for version in crd["spec"]["versions"] if version.get("storage")]
            status = {"conditions": [accepted, established], "acceptedNames": crd["spec"]["names"]}
            self.store.put(
                CRDS,
                {**crd, "metadata": metadata.of_new(CRDS, "", own), "status": status | {"storedVersions": versions}},
            )
        self.objects.collect()

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        self.end_watches()

    async def _respond(self, request: Request) -> Response:
        try:
            return await self._response(request)
        except Refusal as refusal:
            return refused(refusal)
        except sqlite3.Error as error:
            _log.error("the state cannot be written: %s", error)
            return refused(Refusal(500, f"the state cannot be written: {error}"))

    async def _response(self, request: Request) -> Response:
        require_loopback_name(request.headers.get("host", ""))
        path = request.url.path
        if is_open(path):
            return PlainTextResponse("ok")
        caller = authenticate(request, self.tokens)
        if request.method == "GET" and (document := self._document(path, request)) is not None:
            return answer(document)
        if (reviewed := _reviewed(path)) is not None:
            return await self._review(request, *reviewed, caller)
        return await self._requests.answer(request, place_of(self.registry, path), caller)

    def _document(self, path: str, request: Request) -> Body | None:  # noqa: PLR0911 - one per path
        """Discovery document at a path; None if there is none."""
        registry = self.registry
        match path.strip("/").split("/"):
            case ["version"]:
                return dict(discovery.VERSION)
            case ["api"]:
                return discovery.api_versions(request.headers["host"])
            case ["apis"]:
                return discovery.group_list(registry)
            case ["api", version]:
                return discovery.resource_list(registry, "", version)
            case ["apis", group]:
                return discovery.group(registry, group)
            case ["apis", group, version]:
                return discovery.resource_list(registry, group, version)
            case ["openapi", "v3"]:
                return discovery.openapi_index(registry)
            case ["openapi", "v3", "api", version]:
                return discovery.openapi(registry, "", version)
            case ["openapi", "v3", "apis", group, version]:
                return discovery.openapi(registry, group, version)
            case _:
                return None

    async def _review(self, request: Request, group: str, plural: str, caller: Caller) -> Response:
        if request.method != "POST":
            raise Refusal(405, "the server does not allow this method on the requested resource")
        if not rights.permits(caller, rights.Request("create", group, plural)):
            raise Refusal(403, f'{plural}.{group} is forbidden: User "{caller.name}" cannot create resource "{plural}"')
        kind = discovery.REVIEWS[group, plural]
        return answer(review(kind, await read_object(request), caller, self.tokens), 201)


def _reviewed(path: str) -> tuple[str, str] | None:
    """Group and plural of the review at a path; None for other paths. Raises Refusal 404 for an unknown version."""
    match path.strip("/").split("/"):
        case ["apis", group, version, plural] if (group, plural) in discovery.REVIEWS:
            if version != "v1":
                raise unknown_path()
            return group, plural
        case _:
            return None
