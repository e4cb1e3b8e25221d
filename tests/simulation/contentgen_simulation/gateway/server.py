"""The gateway's app in this process: a Kubernetes API that knows tokens and rights, and a MongoDB in memory."""

import asyncio
import itertools
import sys
from collections.abc import AsyncGenerator, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.util import find_spec
from typing import Any

import boto3
import httpx
import mongomock
from kubernetes.aio.client.exceptions import ApiException
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
from contentgen_gateway.stores.records import Purchases, Records
from contentgen_gateway.stores.shares import Shares
from contentgen_gateway.stores.verification import other_jobs, purchase_prefixes
from contentgen_gateway.transcripts.index import TranscriptIndex
from contentgen_gateway.transcripts.indexer import Indexer
from contentgen_runtime.kube import Body, KubeApi
from contentgen_runtime.namespaces import Namespaces
from contentgen_runtime.tenancy import Tenancy

if find_spec("sniffio") is None:
    # httpx asks for it at each request to an app, and finding nothing takes as long as many a request.
    sys.modules["sniffio"] = None  # type: ignore[assignment]  # what Python itself puts there

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


class FakeApi(KubeApi):
    """A token is its caller's name, with `~` for `:`; `rights` are (caller, verb, plural, namespace), `*` for any.

    A right to one name only has `plural/name` in the plural's place.
    """

    def __init__(self, rights: Iterable[tuple[str, str, str, str]] = ()) -> None:
        super().__init__()
        self.rights = set(rights)
        self.asked: list[tuple[str, str]] = []
        self.reviews: list[Body] = []
        self.applied: list[Body] = []
        self.namespaces: dict[str, tuple[str, str]] = {}
        self._watches: list[tuple[str, asyncio.Queue[tuple[str, Body]]]] = []

    async def review_token(self, token: str, audience: str) -> Body:
        """Known are all whose name does not begin with `un`."""
        if token.startswith("un"):
            return {"authenticated": False}
        user = {"username": token.replace("~", ":"), "groups": []}
        return {"authenticated": True, "audiences": [audience], "user": user}

    async def get_namespace(self, name: str) -> Body | None:
        """Each is there since long ago; `namespaces` has the uid and the time of one that was created again."""
        uid, created = self.namespaces.get(name, (f"namespace-{name}", "2000-01-01T00:00:00Z"))
        return {"metadata": {"name": name, "uid": uid, "creationTimestamp": created}}

    async def call(self, method: str, path: str, body: Body | None = None) -> Body:
        """SubjectAccessReviews, and reads of resources; what else a test needs it overrides."""
        self.asked.append((method, path))
        if method == "GET" and path.startswith(_OURS):
            return self._read(path.removeprefix(_OURS))
        assert path.endswith("/subjectaccessreviews"), path
        assert body is not None
        asked = body["spec"]["resourceAttributes"]
        self.reviews.append(asked)
        names = (asked["resource"], f"{asked['resource']}/{asked.get('name', '')}")
        who = [(body["spec"]["user"], asked["verb"], each, asked["namespace"]) for each in names]
        return {"status": {"allowed": any(_fits(right, each) for right in self.rights for each in who)}}

    def _read(self, path: str) -> Body:
        *_, plural = path.partition("?")[0].split("/")
        if plural in {kind.plural for kind in Kind}:
            items = [each for each in self.applied if Kind(each["kind"]).plural == plural]
            return {"metadata": {"resourceVersion": "1"}, "items": items}
        for each in self.applied:
            meta = each["metadata"]
            if path == f"namespaces/{meta['namespace']}/{Kind(each['kind']).plural}/{meta['name']}":
                return each
        raise ApiException(status=404, reason="there is none")

    async def watch(
        self,
        resource: ApiResource,
        namespace: str | None,  # noqa: ARG002 - all are one
        version: str,  # noqa: ARG002 - all are one
        labels: str = "",  # noqa: ARG002 - all are one
    ) -> AsyncGenerator[tuple[str, Body]]:
        """What `happens` from now on."""
        told: asyncio.Queue[tuple[str, Body]] = asyncio.Queue()
        self._watches.append((resource.plural, told))
        while True:
            yield await told.get()

    def happens(self, event: str, body: Body) -> None:
        """Tell every watch of a resource's kind."""
        for plural, told in self._watches:
            if plural == Kind(body["kind"]).plural:
                told.put_nowait((event, body))


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
    """A resource under way, as the API server gives it; `status=None` for one that the operator has not seen."""
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


def _fits(right: tuple[str, ...], asked: tuple[str, ...]) -> bool:
    return all(mine in ("*", theirs) for mine, theirs in zip(right, asked, strict=True))


def files_at(endpoint: str, bucket: str) -> BucketFiles:
    """A bucket that is not there, with credentials that nobody knows."""
    return BucketFiles(bucket=bucket, region="us-east-1", endpoint=endpoint, public_endpoint=None, session=session())


@cache
def session() -> boto3.session.Session:
    """One for all worlds: it reads botocore's description of S3, which takes longer than most tests."""
    return boto3.session.Session("nobody", "nothing")


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """The same for all worlds: FastAPI completes a route when it is first asked for, and all of them take a second.

    An endpoint comes by its parts through its request's app.
    """
    return tuple(endpoints().routes)


class GatewayWorld:
    """The app and what lies behind it; `database` and `files` of real stores, where a test has them.

    `beside` is a world whose API server, database and bucket this one shares: another replica of the same gateway.
    """

    api_class = FakeApi
    lists_adopted = True
    api: FakeApi
    parts: Dependencies

    def __init__(
        self,
        *rights: tuple[str, str, str, str],
        database: Any = None,
        files: BucketFiles | None = None,
        beside: "GatewayWorld | None" = None,
        **settings: Any,
    ) -> None:
        if beside is not None:
            database, files = beside.database, beside.parts.files
        self.api = self.api_class(rights) if beside is None else beside.api
        memory: Any = mongomock.MongoClient(tz_aware=True)["content-generation"]
        self.database: Any = memory if database is None else database
        # A test that is about something else asks as fast as it can.
        self.settings = Settings(**({"gateway_requests_per_second": 1e6, "gateway_burst": 1_000_000} | settings))
        access = Authorizer(self.api)
        files = files or files_at("http://s3.test", "assets")
        records, shares = Records(self.database["jobs"], files.key_of), Shares(self.database["shares"])
        transcripts = TranscriptIndex(self.database)
        indexer = Indexer(records, files, transcripts)
        resources = JobResources(self.api, self.settings.operator_class)
        live = LiveJobs(over=indexer.note, serves=resources.serves)
        tenants = Tenants(Tenancy(self.api, self.database), clock=itertools.count(step=REMEMBERED_SECONDS).__next__)
        creations = RecentCreations(self.database["recent-creations"], live, resources)
        self.parts = Dependencies(
            settings=self.settings,
            callers=Authenticator(self.api, SignOuts(self.database["signed-out"])),
            access=access,
            records=records,
            purchases=Purchases(self.database["ledger"]),
            live=live,
            creations=creations,
            shares=shares,
            collections=Collections(self.database["collections"]),
            transcripts=transcripts,
            indexer=indexer,
            files=files,
            sight=Visibility(records, access, creations, shares, tenants),
            tenants=tenants,
            resources=resources,
            namespaces=Namespaces(self.settings.watch_namespaces, self.settings.watch_namespace_selector),
        )
        self.app = create_app(self.parts)
        self.app.router.routes[:] = _routes()

    def client(self, caller: str | None) -> httpx.AsyncClient:
        """A client of one caller."""
        headers = {"Authorization": f"Bearer {caller.replace(':', '~')}"} if caller else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)

    def job(self, number: int, kind: Kind = Kind.LORA_TRAINING, **fields: Any) -> str:
        """Put a record there; its jobId."""
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
        """The purchases of other jobs whose files a record names, as the operator has them in the ledger."""
        for other in other_jobs(record, self.parts.files.key_of):
            purchase = {"_id": f"{purchase_prefixes(record)[0]}hash/-/{other}", "jobId": other}
            self.database["ledger"].replace_one({"_id": purchase["_id"]}, purchase, upsert=True)
