"""The gateway's app in this process, over an in-memory API server and mongomock."""

import asyncio
import itertools
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.util import find_spec
from time import monotonic
from typing import Any

import boto3
import httpx
import mongomock
from starlette.routing import BaseRoute

from contentgen_contract.api_paths import ApiResource
from contentgen_contract.names import GROUP, VERSION, Kind
from contentgen_gateway.app import create_app, endpoints
from contentgen_gateway.auth.authentication import Authenticator
from contentgen_gateway.auth.authorization import Authorizer
from contentgen_gateway.auth.sign_outs import SignOuts
from contentgen_gateway.auth.tenants import REMEMBERED_SECONDS, Tenants
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.dependencies import Dependencies
from contentgen_gateway.live.jobs import LiveJobs
from contentgen_gateway.live.recent_creations import RecentCreations
from contentgen_gateway.live.resources import JobResources
from contentgen_gateway.settings import Settings
from contentgen_gateway.stores.collections import Collections
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.notifications import Notifications
from contentgen_gateway.stores.records import Purchases, Records
from contentgen_gateway.stores.shares import Shares
from contentgen_gateway.stores.verification import other_jobs, purchase_prefixes
from contentgen_gateway.transcripts.index import TranscriptIndex
from contentgen_gateway.transcripts.indexer import Indexer
from contentgen_runtime.kube import Body, KubeApi
from contentgen_runtime.namespaces import Namespaces
from contentgen_runtime.tenancy import Tenancy
from contentgen_simulation.api_server import ApiServer, ObjectStore, Right, copied

if find_spec("sniffio") is None:
    # httpx tries to import it at each request to an app, and a failed import takes as long as many requests.
    sys.modules["sniffio"] = None  # type: ignore[assignment]  # marks the module as missing

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


Place = tuple[str, str, str]
"""Namespace, plural, name."""


class FakeApi(KubeApi):
    """Kubernetes as the gateway's client shows it, over an `ApiServer`.

    A token is its caller's name, with `~` for `:`. Every namespace exists since 2000; `namespaces` has the uid and the
    creation time of one that was created again.
    """

    def __init__(self, rights: Iterable[Right] = ()) -> None:
        super().__init__()
        self.server = ApiServer(rights=rights, implied_since="2000-01-01T00:00:00Z")
        self.store = ObjectStore[Place](self.server)
        self.requests: list[tuple[str, str]] = []  # method and path
        self.reviews: list[Body] = []
        self._watches: list[tuple[str, asyncio.Queue[tuple[str, Body]]]] = []

    @property
    def rights(self) -> set[Right]:
        """Rights that access reviews grant."""
        return self.server.rights

    @rights.setter
    def rights(self, rights: set[Right]) -> None:
        self.server.rights = rights

    @property
    def namespaces(self) -> dict[str, tuple[str, str]]:
        """Uid and creation time of namespaces by name."""
        return self.server.namespaces

    @property
    def resources(self) -> dict[Place, Body]:
        """Resources of our kinds."""
        return self.store.objects

    def put(self, *bodies: Body) -> None:
        """Replace all resources; each body names its kind."""
        self.store.objects = {_place_of(body): body for body in bodies}

    async def review_token(self, token: str, audience: str) -> Body:
        """Authenticate every token that does not begin with `un`."""
        if token.startswith("un"):
            return self.server.review_token(token)
        user = {"username": token.replace("~", ":"), "groups": []}
        return {"authenticated": True, "audiences": [audience], "user": user}

    async def get_namespace(self, name: str) -> Body | None:
        """The namespace, created in 2000 unless `namespaces` has it."""
        return self.server.namespace(name)

    async def call(self, method: str, path: str, body: Body | None = None) -> Body:
        """SubjectAccessReviews, and requests for resources of our kinds."""
        self.requests.append((method, path))
        if path.startswith(_OURS):
            *parents, plural_or_name = path.removeprefix(_OURS).partition("?")[0].split("/")
            return self._resource(method, parents, plural_or_name, body)
        assert path.endswith("/subjectaccessreviews"), path
        assert body is not None
        asked = body["spec"]["resourceAttributes"]
        self.reviews.append(asked)
        request = (body["spec"]["user"], asked["verb"], asked["resource"], asked["namespace"])
        return {"status": {"allowed": self.server.allows(*request, asked.get("name", ""))}}

    def _resource(self, method: str, parents: list[str], last: str, body: Body | None) -> Body:
        """Answer a request for a collection (`namespaces/red/plural` or `plural`) or for one object of it."""
        if len(parents) < 3:
            namespace = parents[1] if parents else ""
            return self._list(last, namespace) if method == "GET" else self._create(namespace, last, body or {})
        place = (parents[1], parents[2], last)
        if method == "GET":
            return copied(self.store.get(place))
        return self._delete(place, body or {}) if method == "DELETE" else self.store.patch(place, body or {})

    def _list(self, plural: str, namespace: str) -> Body:
        found = [body for place, body in self.resources.items() if place[1] == plural and namespace in ("", place[0])]
        return {"metadata": {"resourceVersion": "1"}, "items": found}

    def _create(self, namespace: str, plural: str, body: Body) -> Body:
        place = (namespace, plural, body["metadata"]["name"])
        return self.store.create(place, body, lambda version: f"20000000-0000-4000-8000-{int(version):012}")

    def _delete(self, place: Place, options: Body) -> Body:
        self.store.delete(place, options.get("preconditions", {}).get("uid"))
        return {}

    async def watch(
        self,
        resource: ApiResource,
        namespace: str | None,  # noqa: ARG002 - all are one
        version: str,  # noqa: ARG002 - all are one
        labels: str = "",  # noqa: ARG002 - all are one
    ) -> AsyncGenerator[tuple[str, Body]]:
        """Watch events that `send` sends from now on."""
        events: asyncio.Queue[tuple[str, Body]] = asyncio.Queue()
        self._watches.append((resource.plural, events))
        while True:
            yield await events.get()

    def send(self, event: str, body: Body) -> None:
        """Send an event to every watch of the body's kind."""
        for plural, events in self._watches:
            if plural == Kind(body["kind"]).plural:
                events.put_nowait((event, body))


def _place_of(body: Body) -> Place:
    metadata = body["metadata"]
    return metadata.get("namespace", ""), Kind(body["kind"]).plural, metadata.get("name", "")


_OURS = f"/apis/{GROUP}/{VERSION}/"
_SPECS: dict[Kind, Body] = {
    Kind.LORA_TRAINING: {
        "loraName": "face",
        "triggerWord": "jf",
        "source": {"url": "https://example.com/a/talk.mp4?sig=1"},
    },
    Kind.IMAGE_GENERATION: {"model": "flux-dev", "prompt": "a lighthouse"},
    Kind.TRANSCRIPTION: {"source": {"url": "https://example.com/a/talk.mp3?sig=1"}},
}


def resource(kind: Kind, uid: str, *, namespace: str = "red", version: int = 1, **status: Any) -> Body:
    """Resource in progress as returned by the API server; `status=None` for one that the operator has not seen."""
    meta = {
        "uid": uid,
        "name": f"job-{uid}",
        "namespace": namespace,
        "resourceVersion": str(version),
        "creationTimestamp": "2026-11-01T12:00:00Z",
    }
    spec = _SPECS[kind] | {"userId": "ann", "metadata": {"tags": ["podcast"]}}
    body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind.value, "metadata": meta, "spec": spec}
    return body if status.get("status", "") is None else body | {"status": {"phase": "Preparing"} | status}


def files_at(endpoint: str, bucket: str) -> BucketFiles:
    """Client of a bucket that does not exist, with invalid credentials."""
    return BucketFiles(
        bucket=bucket, region="us-east-1", endpoint=endpoint, public_endpoint=None, session=shared_session()
    )


class SharedSession(boto3.session.Session):
    """Session that makes one client per endpoint; each takes as long as many tests."""

    def __init__(self) -> None:
        super().__init__("nobody", "nothing")
        self._made: dict[str | None, Any] = {}

    def client(self, service_name: Any, *args: Any, **options: Any) -> Any:
        """The client of an endpoint."""
        endpoint = options["endpoint_url"]
        if endpoint not in self._made:
            self._made[endpoint] = super().client(service_name, *args, **options)
        return self._made[endpoint]


@cache
def session() -> boto3.session.Session:
    """Shared session: it reads botocore's description of S3, which takes longer than most tests."""
    return boto3.session.Session("nobody", "nothing")


@cache
def shared_session() -> SharedSession:
    """Session of all worlds whose bucket answers nothing."""
    return SharedSession()


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """Shared routes: FastAPI completes a route at its first request, which takes a second for all.

    Endpoints get their dependencies from the request's app.
    """
    return tuple(endpoints().routes)


class GatewayWorld:
    """The gateway's app and its dependencies; `database` and `files` replace the in-memory ones.

    `beside` is another replica, whose API server, database and bucket this one shares. `clock` times cached rights, and
    `tenants_clock` cached tenants; without it each request reads them again.
    """

    api_class = FakeApi
    lists_adopted = True
    api: FakeApi
    dependencies: Dependencies

    def __init__(
        self,
        *rights: tuple[str, str, str, str],
        database: Any = None,
        files: BucketFiles | None = None,
        beside: "GatewayWorld | None" = None,
        clock: Callable[[], float] = monotonic,
        tenants_clock: Callable[[], float] | None = None,
        **settings: Any,
    ) -> None:
        if beside is not None:
            database, files = beside.database, beside.dependencies.files
        self.api = self.api_class(rights) if beside is None else beside.api
        memory: Any = mongomock.MongoClient(tz_aware=True)["content-generation"]
        self.database: Any = memory if database is None else database
        # Rate limit out of reach, except in the tests of the limit.
        self.settings = Settings(**({"gateway_requests_per_second": 1e6, "gateway_burst": 1_000_000} | settings))
        authorizer = Authorizer(self.api, clock=clock)
        files = files or files_at("http://s3.test", "assets")
        records, shares = Records(self.database["jobs"], files.key_of), Shares(self.database["shares"])
        transcripts = TranscriptIndex(self.database)
        indexer = Indexer(records, files, transcripts)
        resources = JobResources(self.api, self.settings.operator_class)
        live = LiveJobs(on_end=indexer.schedule, serves=resources.serves)
        expired = itertools.count(step=REMEMBERED_SECONDS).__next__
        tenants = Tenants(Tenancy(self.api, self.database), clock=tenants_clock or expired)
        creations = RecentCreations(self.database["recent-creations"], live, resources)
        self.dependencies = Dependencies(
            settings=self.settings,
            authenticator=Authenticator(self.api, SignOuts(self.database["signed-out"])),
            authorizer=authorizer,
            records=records,
            purchases=Purchases(self.database["ledger"]),
            live=live,
            creations=creations,
            shares=shares,
            notifications=Notifications(self.database["notifications"]),
            audit_reports=self.database["audits"],
            collections=Collections(self.database["collections"]),
            transcripts=transcripts,
            indexer=indexer,
            files=files,
            visibility=Visibility(records, authorizer, creations, shares, tenants),
            tenants=tenants,
            resources=resources,
            namespaces=Namespaces(self.settings.watch_namespaces, self.settings.watch_namespace_selector),
        )
        self.app = create_app(self.dependencies)
        self.app.router.routes[:] = _routes()

    def client(self, caller: str | None) -> httpx.AsyncClient:
        """HTTP client of a caller; None for no token."""
        headers = {"Authorization": f"Bearer {caller.replace(':', '~')}"} if caller else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)

    def job(self, number: int, kind: Kind = Kind.LORA_TRAINING, **fields: Any) -> str:
        """Insert a record; returns its jobId."""
        job_id = f"00000000-0000-4000-8000-{number:012}"
        made = START + timedelta(minutes=number)
        document = {
            "jobId": job_id, "userId": "ann", "type": kind.record_type, "namespace": "red", "name": f"job-{number}",
            "config": {}, "metadata": {"tags": [], "description": "", "isPublic": False}, "versions": [],
            "status": "completed", "phase": "Completed", "progress": 100, "reason": "Completed", "error": None,
            "cost": None, "createdAt": made, "startedAt": made, "completedAt": made + timedelta(minutes=1),
        }  # fmt: skip
        self.database["jobs"].insert_one(document | fields)
        if self.lists_adopted:
            self._list_adopted(document | fields)
        return job_id

    def _list_adopted(self, record: dict[str, Any]) -> None:
        """Insert the ledger entries of other jobs whose files the record names."""
        for other in other_jobs(record, self.dependencies.files.key_of):
            purchase = {"_id": f"{purchase_prefixes(record)[0]}hash/-/{other}", "jobId": other}
            self.database["ledger"].replace_one({"_id": purchase["_id"]}, purchase, upsert=True)
