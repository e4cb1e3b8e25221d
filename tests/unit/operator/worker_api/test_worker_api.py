"""Worker API over HTTP: authentication of tokens, permissions, isolation of workers."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import mongomock
import pytest
from pydantic import ValidationError

from contentgen_contract.names import KIND_LABEL, STAGE_LABEL, UID_LABEL, Kind, Stage, Step
from contentgen_contract.records import keys
from contentgen_contract.resources.sources import SourceGrant
from contentgen_contract.resources.spec import parse_spec, run_hash
from contentgen_contract.worker.orders import AudioFacts, EgressProxy, FileOffer, Outcome, Progress, WorkOrder
from contentgen_operator.kube.cache import Cache
from contentgen_operator.state.observed import JobView, ResourceRef
from contentgen_operator.state.purchases import Purchase, PurchaseKey, PurchaseState
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import Leftovers, Storage
from contentgen_operator.stores.status_verification import StatusVerifier
from contentgen_operator.stores.worker_jobs import RecordedJob, WorkerJobs
from contentgen_operator.worker_api.authentication import WorkerAuthenticator
from contentgen_operator.worker_api.certificate_authority import new_authority
from contentgen_operator.worker_api.reports import Reports
from contentgen_operator.worker_api.server import WorkerApi, create_app
from contentgen_operator.worker_api.work_orders import OrderSettings
from contentgen_runtime.ca_bundle import LastBundle
from contentgen_runtime.stores import in_thread
from contentgen_runtime.tenancy import Tenancy
from contentgen_simulation.api_server import ApiServer
from contentgen_simulation.object_storage import unreached_storage
from contentgen_simulation.world import CREATED, blocking, outcome_of

SPECS: dict[Kind, dict[str, Any]] = {
    Kind.LORA_TRAINING: {"loraName": "jesse", "triggerWord": "jf", "source": {"url": "https://h/talk.mp4"}},
    Kind.IMAGE_GENERATION: {"prompt": "a cat"},
    Kind.TRANSCRIPTION: {"source": {"url": "s3://recordings/a.mp3", "sha256": "0" * 64}},
}
DATASET = {
    "type": "dataset",
    "images": 30,
    "scenes": 4,
    "durationSeconds": 6,
    "width": 1,
    "height": 1,
    "sourceBytes": 1,
}
SHA = "ab" * 32
PROXY = EgressProxy(url="http://proxy:3128", exceptions=(".corp",))


class WorkerCluster:
    """Kubernetes API as read by the worker API: token reviews, pods, Jobs and resources."""

    def __init__(self, jobs: WorkerJobs) -> None:
        self.server = ApiServer(implied_since=CREATED)
        self.recorded = jobs
        self.asked: list[str] = []  # names by which objects were read
        self.pods: dict[tuple[str, str], dict[str, Any]] = {}
        self.jobs: dict[tuple[str, str], dict[str, Any]] = {}
        self.resources: dict[tuple[Kind, str, str], dict[str, Any]] = {}

    async def review_token(self, token: str, _audience: str) -> dict[str, Any]:
        return self.server.review_token(token)

    async def get_pod(self, namespace: str, name: str) -> dict[str, Any] | None:
        self.asked.append(name)
        return self.pods.get((namespace, name))

    async def get_job(self, namespace: str, name: str) -> dict[str, Any] | None:
        self.asked.append(name)
        return self.jobs.get((namespace, name))

    async def get_namespace(self, name: str) -> dict[str, Any] | None:
        return self.server.namespace(name)

    async def get_resource(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        self.asked.append(name)
        return self.resources.get((kind, namespace, name))

    def worker(self, kind: Kind, name: str, stage: Stage, namespace: str = "ns") -> str:
        """Create a resource with a Job and a pod; returns the token of the pod."""
        uid = f"uid-{namespace}-{name}"
        spec = SPECS[kind]
        self.resources[kind, namespace, name] = {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid,
                "resourceVersion": "1",
                "creationTimestamp": "2026-11-21T00:00:00Z",
            },
            "spec": spec,
            "status": {
                "run": {
                    "number": 1,
                    "version": 1,
                    "runHash": run_hash(kind, parse_spec(kind, spec)),
                    "generation": 1,
                    "spec": spec,
                    "startedAt": "2026-11-21T00:00:00Z",
                    "facts": DATASET if stage is Stage.COLLECT else None,
                    "job": {"name": f"job-{name}", "uid": f"{uid}-job", "stage": stage.value, "attempt": 2},
                }
            },
        }
        owner = {
            "apiVersion": "contentgen.dev/v1alpha1",
            "kind": kind.value,
            "name": name,
            "uid": uid,
            "controller": True,
        }
        labels = {UID_LABEL: uid, KIND_LABEL: kind.value, STAGE_LABEL: stage.value}
        self.jobs[namespace, f"job-{name}"] = {
            "metadata": {
                "name": f"job-{name}",
                "uid": f"{uid}-job",
                "ownerReferences": [owner],
                "labels": labels,
                "creationTimestamp": "2026-11-21T00:00:00Z",
            }
        }
        self.record(ResourceRef(kind=kind, namespace=namespace, name=name, uid=uid), f"{uid}-job", stage)
        controller = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": f"job-{name}",
            "uid": f"{uid}-job",
            "controller": True,
        }
        self.pods[namespace, f"pod-{name}"] = {
            "metadata": {"name": f"pod-{name}", "uid": f"{uid}-pod", "ownerReferences": [controller], "labels": labels}
        }
        return self.token(f"token-{namespace}-{name}", namespace, f"pod-{name}", f"{uid}-pod")

    def record(self, owner: ResourceRef, uid: str, stage: Stage) -> None:
        """Record a Job as the operator does at its creation."""
        made = datetime(2026, 11, 21, tzinfo=UTC)
        name = f"job-{owner.name}"
        job = RecordedJob(uid=uid, name=name, owner=owner, run=1, stage=stage, attempt=2, created_at=made)
        blocking(self.recorded.record)(job)

    @property
    def pod(self) -> dict[str, Any]:
        """Metadata of the pod of `it`."""
        metadata: dict[str, Any] = self.pods["ns", "pod-it"]["metadata"]
        return metadata

    @property
    def status(self) -> dict[str, Any]:
        """Status of the resource `it`."""
        status: dict[str, Any] = next(body["status"] for key, body in self.resources.items() if key[2] == "it")
        return status

    def token(self, token: str, namespace: str, pod: str, uid: str, audience: str = "contentgen") -> str:
        self.server.token_reviews[token] = {
            "authenticated": True,
            "audiences": [audience],
            "user": {
                "username": f"system:serviceaccount:{namespace}:default",
                "extra": {
                    "authentication.kubernetes.io/pod-name": [pod],
                    "authentication.kubernetes.io/pod-uid": [uid],
                },
            },
        }
        return token


class Setting:
    """Worker API with its dependencies."""

    def __init__(self) -> None:
        self.database: Any = mongomock.MongoClient(tz_aware=True)["db"]
        self.jobs = WorkerJobs(self.database["worker_jobs"])
        self.cluster = WorkerCluster(self.jobs)
        self.reports = Reports()
        self.cache = Cache()
        self.woken: list[tuple[ResourceRef, float]] = []
        self.ledger = Ledger(self.database["ledger"])
        self.client: Any = None
        self.seconds = 1000.0

    async def wake(self, ref: ResourceRef, delay: float) -> None:
        self.woken.append((ref, delay))

    async def get(self, token: str, path: str = "/v1/order") -> httpx.Response:
        return await self.client.get(path, headers={"Authorization": f"Bearer {token}"})

    async def post(self, token: str, path: str, body: Any = None) -> httpx.Response:
        return await self.client.post(path, json=body, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture(scope="module")
def bucket() -> Iterator[Storage]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Storage, "exists", in_thread(lambda *_: False))  # no outcome yet
        yield unreached_storage()


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    return tmp_path / "ca.crt"


@pytest.fixture
async def setting(bucket: Storage, ca_file: Path) -> AsyncIterator[Setting]:
    made = Setting()
    kube: Any = made.cluster
    worker_api = WorkerApi(
        authenticator=WorkerAuthenticator(kube, made.cache, made.jobs, clock=lambda: made.seconds),
        storage=bucket,
        ledger=made.ledger,
        reports=made.reports,
        settings=OrderSettings(
            stage_deadline=timedelta(hours=1),
            allowed_hosts=("h:1",),
            proxy=PROXY,
            ca_certificates=LastBundle(ca_file).read,
            bucket="assets",
            sources=(
                SourceGrant(bucket="recordings", namespaces=("ns", "other")),
                SourceGrant(bucket="assets", namespaces=("*",)),
            ),
        ),
        wake=made.wake,
        verifier=StatusVerifier(
            ledger=made.ledger,
            records=RecordStore(made.database["jobs"], bucket),
            runs=RunDocuments(made.database["runs"]),
            tenancy=Tenancy(kube, made.database),
        ),
    )
    transport = httpx.ASGITransport(create_app(worker_api))
    async with httpx.AsyncClient(transport=transport, base_url="https://worker-api") as client:
        made.client = client
        yield made


def offer(name: str, **changes: Any) -> dict[str, Any]:
    content_type = keys.CONTENT_TYPES.get(name.rpartition(".")[2], "image/jpeg")
    return {"name": name, "sizeBytes": 7, "sha256": SHA, "contentType": content_type} | changes


# Orders


async def test_an_order_of_a_prepare_stage(setting: Setting) -> None:
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    order = WorkOrder.model_validate_json((await setting.get(token)).content)
    assert (order.kind, order.stage, order.attempt, order.user_id) == (Kind.TRANSCRIPTION, Stage.PREPARE, 2, "ns")
    assert order.source is not None
    assert (order.source.trusted, order.source.sha256) == (True, "0" * 64)
    assert urlsplit(order.source.url).path == "/recordings/a.mp3"
    assert urlsplit(order.outcome_url).path == "/assets/runs/uid-ns-it/1/prepare-2.json"
    assert (order.result, order.dataset, order.allowed_hosts) == (None, None, ("h:1",))
    assert "secret" not in (await setting.get(token)).text


async def test_an_order_has_the_cas_and_the_proxy(setting: Setting, ca_file: Path) -> None:
    """A full bundle is larger than an environment variable may be; a damaged one changes nothing."""
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    authority = new_authority(datetime.now(UTC)).certificate
    for content, certificates in (
        (b"", 0),
        (authority, 1),
        (authority * 300, 300),
        (b"half of a bund", 300),
        (authority, 1),
    ):
        await asyncio.to_thread(ca_file.write_bytes, content)
        order = WorkOrder.model_validate_json((await setting.get(token)).content)
        assert (order.ca_certificates.count("BEGIN"), order.proxy) == (certificates, PROXY)


async def test_a_web_source_is_not_trusted(setting: Setting) -> None:
    token = setting.cluster.worker(Kind.LORA_TRAINING, "it", Stage.PREPARE)
    order = WorkOrder.model_validate_json((await setting.get(token)).content)
    assert order.source is not None
    assert (order.source.trusted, order.source.url) == (False, "https://h/talk.mp4")


async def bought(setting: Setting, job_id: str, result_key: str) -> None:
    """Purchase of the LoraTraining "it", with its response."""
    now = datetime.now(UTC)
    spec = SPECS[Kind.LORA_TRAINING]
    key = PurchaseKey(
        namespace="ns",
        kind=Kind.LORA_TRAINING,
        name="it",
        run_hash=run_hash(Kind.LORA_TRAINING, parse_spec(Kind.LORA_TRAINING, spec)),
        rerun=None,
        attempt=1,
    )
    await setting.ledger.intend(
        key,
        Purchase(
            state=PurchaseState.SUCCEEDED,
            job_id=job_id,
            provider="fal",
            model="m",
            correlation_key="k",
            created_at=now,
            changed_at=now,
            result_key=result_key,
        ),
    )


async def test_an_order_of_a_collect_stage(setting: Setting) -> None:
    """Only the key in the ledger is signed."""
    key = "purchases/p/response.json"
    token = setting.cluster.worker(Kind.LORA_TRAINING, "it", Stage.COLLECT)
    await bought(setting, "uid-ns-it", key)
    order = WorkOrder.model_validate_json((await setting.get(token)).content)
    assert order.source is None
    assert order.result is not None
    assert urlsplit(order.result.url).path == f"/assets/{key}"
    assert order.dataset is not None
    assert urlsplit(order.dataset.url).path == "/assets/datasets/ns/uid-ns-it/dataset.json"
    shown = [urlsplit(preview.url).path.rpartition("/")[2] for preview in order.dataset_previews]
    assert (len(shown), shown[0], shown == sorted(set(shown))) == (12, "0001.jpg", True)
    assert shown[-1] <= "0030.jpg"


async def test_an_order_names_the_outcome_of_a_stored_part(setting: Setting) -> None:
    token = setting.cluster.worker(Kind.LORA_TRAINING, "it", Stage.COLLECT)
    await bought(setting, "uid-ns-it", "purchases/p/response.json")
    assert WorkOrder.model_validate_json((await setting.get(token)).content).earlier is None
    run = setting.cluster.resources[Kind.LORA_TRAINING, "ns", "it"]["status"]["run"]
    run["collect"] = {"partial": 1}
    order = WorkOrder.model_validate_json((await setting.get(token)).content)
    assert order.earlier is not None
    assert urlsplit(order.earlier.url).path == "/assets/runs/uid-ns-it/1/collect-1.json"


async def test_response_of_another_owners_purchase_is_not_signed(setting: Setting) -> None:
    token = setting.cluster.worker(Kind.LORA_TRAINING, "it", Stage.COLLECT)
    await bought(setting, "another", "purchases/p/response.json")
    reply = await setting.get(token)
    assert reply.status_code == 403
    assert "response.json" not in reply.text


# Uploads, reports


async def test_uploads_are_granted_under_the_own_prefix(setting: Setting) -> None:
    token = setting.cluster.worker(Kind.LORA_TRAINING, "it", Stage.PREPARE)
    reply = await setting.post(token, "/v1/uploads", {"files": [offer("images/0001.jpg"), offer("dataset.zip")]})
    assert reply.status_code == 200
    grants = reply.json()["grants"]
    assert [urlsplit(g["url"]).path for g in grants] == [
        "/assets/datasets/ns/uid-ns-it/images/0001.jpg",
        "/assets/datasets/ns/uid-ns-it/dataset.zip",
    ]
    signed = parse_qs(urlsplit(grants[0]["url"]).query)["X-Amz-SignedHeaders"][0].split(";")
    assert {"content-length", "content-type", "x-amz-checksum-sha256"} <= set(signed)
    assert grants[0]["headers"]["Content-Length"] == "7"


async def test_stored_files_are_listed(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    async def leftovers(_: Storage, _owner: object, prefix: str, offers: Sequence[FileOffer], *_args: str) -> Leftovers:
        asked.append((prefix, [offered.name for offered in offers]))
        return Leftovers(kept=frozenset({"dataset.zip"}))

    monkeypatch.setattr(Storage, "leftovers", leftovers)
    token = setting.cluster.worker(Kind.LORA_TRAINING, "it", Stage.PREPARE)
    reply = await setting.post(token, "/v1/uploads", {"files": [offer("images/0001.jpg"), offer("dataset.zip")]})
    assert [grant["stored"] for grant in reply.json()["grants"]] == [False, True]
    assert asked == [("datasets/ns/uid-ns-it/", ["images/0001.jpg", "dataset.zip"])]


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "../x/dataset.zip", "images/../dataset.zip", "/dataset.zip", "images/1.jpg", "dataset.zip\n",
     "images/0001.jpg/..", "", "x" * 200, "dataset.zip?versionId=1", "Images/0001.jpg", "images/0151.jpg"],
)  # fmt: skip
async def test_other_names_are_refused(setting: Setting, name: str) -> None:
    token = setting.cluster.worker(Kind.LORA_TRAINING, "it", Stage.PREPARE)
    reply = await setting.post(token, "/v1/uploads", {"files": [offer("dataset.json"), offer(name)]})
    assert reply.status_code == 422
    assert "Signature" not in reply.text


@pytest.mark.parametrize(
    "wrong",
    [{"sizeBytes": 0}, {"sizeBytes": 2**40}, {"sha256": "AB" * 32}, {"sha256": ""}, {"contentType": "a/b\r\nx: y"}],
)
async def test_other_offers_are_refused(setting: Setting, wrong: dict[str, Any]) -> None:
    token = setting.cluster.worker(Kind.LORA_TRAINING, "it", Stage.PREPARE)
    assert (await setting.post(token, "/v1/uploads", {"files": [offer("dataset.zip", **wrong)]})).status_code == 422
    assert (await setting.post(token, "/v1/uploads", {"files": []})).status_code == 422
    assert (await setting.post(token, "/v1/uploads", {"files": [offer("dataset.zip")] * 257})).status_code == 422


async def test_reports_wake_the_resource(setting: Setting) -> None:
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    body = {"step": "Downloading", "fraction": 0.5, "message": "half"}
    assert (await setting.post(token, "/v1/progress", body)).status_code == 204
    report = setting.reports.progress("uid-ns-it-job")
    assert report is not None
    assert report.fraction == 0.5
    assert not setting.reports.finished("uid-ns-it-job")
    assert (await setting.post(token, "/v1/outcome")).status_code == 204
    assert setting.reports.finished("uid-ns-it-job")
    assert [(ref.name, delay) for ref, delay in setting.woken] == [("it", 1.0), ("it", 0)]
    for wrong in ({"step": "Hacking", "fraction": 0.5}, {"step": "Storing", "fraction": 2}, {}, []):
        assert (await setting.post(token, "/v1/progress", wrong)).status_code == 422
    setting.reports.forget("uid-ns-it-job")
    assert setting.reports.progress("uid-ns-it-job") is None
    assert not setting.reports.finished("uid-ns-it-job")


async def test_bodies_are_bounded(setting: Setting) -> None:
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    headers = {"Authorization": f"Bearer {token}"}

    async def chunks() -> AsyncIterator[bytes]:
        yield b"{}"

    large = await setting.client.post("/v1/progress", content=b"x" * 300_000, headers=headers)
    chunked = await setting.client.post("/v1/progress", content=chunks(), headers=headers)
    forged = await setting.client.post("/v1/progress", content=b"{}", headers=headers | {"Content-Length": "-1"})
    assert (large.status_code, chunked.status_code, forged.status_code) == (413, 413, 413)


# Identity


async def test_forged_tokens_are_nobody(setting: Setting) -> None:
    cluster = setting.cluster
    good = cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    review = cluster.server.token_reviews[good]
    user = review["user"]
    forged = {
        "another audience": review | {"audiences": ["https://kubernetes.default.svc"]},
        "no audience": {k: v for k, v in review.items() if k != "audiences"},
        "not authenticated": review | {"authenticated": False},
        "an error": {"error": "expired"},
        "a person": review | {"user": user | {"username": "jane"}},
        "not bound to a pod": review | {"user": {"username": user["username"]}},
        "a longer name": review | {"user": user | {"username": "system:serviceaccount:ns:default:x"}},
        "a pod of that name made anew": review
        | {"user": user | {"extra": user["extra"] | {"authentication.kubernetes.io/pod-uid": ["older"]}}},
        "a pod of another namespace": review | {"user": user | {"username": "system:serviceaccount:other:default"}},
    }
    for name, answer in forged.items():
        cluster.server.token_reviews[name] = answer
        assert (await setting.get(name)).status_code == 401, name
    assert (await setting.get("never seen")).status_code == 401
    assert (await setting.client.get("/v1/order")).status_code == 401
    assert (await setting.client.get("/v1/order", headers={"Authorization": "Basic eDp5"})).status_code == 401
    assert (await setting.get(good)).status_code == 200


ESCAPE = "../../../../../../api/v1/namespaces/ns/pods/json/log"


def _no_owner(cluster: WorkerCluster) -> None:
    cluster.pod["ownerReferences"] = []


def _owner_is_no_controller(cluster: WorkerCluster) -> None:
    cluster.pod["ownerReferences"][0]["controller"] = False


def _owner_of_another_kind(cluster: WorkerCluster) -> None:
    cluster.pod["ownerReferences"][0]["kind"] = "ReplicaSet"


def _owner_of_another_group(cluster: WorkerCluster) -> None:
    cluster.pod["ownerReferences"][0]["apiVersion"] = "batch/../evil"


def _owner_with_another_uid(cluster: WorkerCluster) -> None:
    cluster.pod["ownerReferences"][0]["uid"] = "older"


def _owner_whose_name_is_a_path(cluster: WorkerCluster) -> None:
    cluster.pod["ownerReferences"][0] |= {"name": ESCAPE, "uid": "forged"}


def _job_that_a_tenant_created(cluster: WorkerCluster) -> None:
    """Job that names the resource as its controller, like the operator's own."""
    cluster.jobs["ns", "mine"] = {
        "metadata": cluster.jobs["ns", "job-it"]["metadata"] | {"name": "mine", "uid": "mine"}
    }
    cluster.pod["ownerReferences"][0] |= {"name": "mine", "uid": "mine"}


def _job_of_another_namespace(cluster: WorkerCluster) -> None:
    cluster.worker(Kind.TRANSCRIPTION, "foreign", Stage.PREPARE, "other")
    cluster.pod["ownerReferences"][0]["uid"] = "uid-other-foreign-job"


def _job_deleted(cluster: WorkerCluster) -> None:
    del cluster.jobs["ns", "job-it"]


def _job_created_anew(cluster: WorkerCluster) -> None:
    cluster.jobs["ns", "job-it"]["metadata"]["uid"] = "newer"


def _older_attempt(cluster: WorkerCluster) -> None:
    owner = ResourceRef(kind=Kind.TRANSCRIPTION, namespace="ns", name="it", uid="uid-ns-it")
    cluster.record(owner, "newer", Stage.PREPARE)


def _resource_deleted(cluster: WorkerCluster) -> None:
    cluster.resources.clear()


def _resource_created_anew(cluster: WorkerCluster) -> None:
    cluster.resources[Kind.TRANSCRIPTION, "ns", "it"]["metadata"]["uid"] = "newer"


def _run_completed(cluster: WorkerCluster) -> None:
    cluster.status["phase"] = "Completed"


def _next_run(cluster: WorkerCluster) -> None:
    cluster.status["run"]["number"] = 2


def _status_names_another_job(cluster: WorkerCluster) -> None:
    cluster.status["run"]["job"]["uid"] = "another"


def _status_names_no_job(cluster: WorkerCluster) -> None:
    cluster.status["run"]["job"] = None


def _status_is_empty(cluster: WorkerCluster) -> None:
    cluster.status.clear()


@pytest.mark.parametrize(
    "attack",
    [_no_owner, _owner_is_no_controller, _owner_of_another_kind, _owner_of_another_group, _owner_with_another_uid,
     _owner_whose_name_is_a_path, _job_that_a_tenant_created, _job_of_another_namespace, _job_deleted,
     _job_created_anew, _older_attempt, _resource_deleted, _resource_created_anew, _run_completed, _next_run],
)  # fmt: skip
async def test_only_pods_of_the_recorded_job_are_workers(
    setting: Setting, attack: Callable[[WorkerCluster], None], caplog: pytest.LogCaptureFixture
) -> None:
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    attack(setting.cluster)
    assert (await setting.get(token)).status_code == 403
    assert (await setting.post(token, "/v1/outcome")).status_code == 403
    assert setting.woken == []
    assert "pod ns/pod-it (uid uid-ns-it-pod) was refused GET /v1/order: " in caplog.text
    assert "was refused POST /v1/outcome: " in caplog.text
    assert not [name for name in setting.cluster.asked if not re.fullmatch("[a-z0-9-]+", name)]
    control = setting.cluster.worker(Kind.LORA_TRAINING, "control", Stage.PREPARE)
    assert (await setting.get(control)).status_code == 200


@pytest.mark.parametrize("attack", [_status_names_another_job, _status_names_no_job, _status_is_empty])
async def test_a_worker_waits_for_the_status_that_names_its_job(
    setting: Setting, attack: Callable[[WorkerCluster], None]
) -> None:
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    attack(setting.cluster)
    reply = await setting.get(token)
    assert (reply.status_code, reply.headers["Retry-After"]) == (425, "1")


async def test_a_worker_is_refused_once_the_next_attempt_is_recorded(setting: Setting) -> None:
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    assert (await setting.get(token)).status_code == 200
    _older_attempt(setting.cluster)
    assert (await setting.get(token)).status_code == 403


async def test_the_worker_of_another_operators_job_gets_its_order(setting: Setting) -> None:
    """This process caches the Job that the other operator has replaced since."""
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    recorded = await setting.jobs.newest("uid-ns-it")
    assert recorded is not None
    setting.jobs._known[recorded.owner.uid] = recorded.model_copy(update={"uid": "replaced"})
    assert (await setting.get(token)).status_code == 200


async def test_stage_and_attempt_come_from_the_record(setting: Setting) -> None:
    """The status is not the source, because other clients may be able to write it."""
    token = setting.cluster.worker(Kind.LORA_TRAINING, "it", Stage.PREPARE)
    setting.cluster.status["run"]["job"] |= {"stage": "collect", "attempt": 9}
    order = WorkOrder.model_validate_json((await setting.get(token)).content)
    assert (order.stage, order.attempt) == (Stage.PREPARE, 2)


@pytest.mark.parametrize("end", ["Complete", "Failed"])
async def test_a_worker_whose_job_has_ended_is_nobody(setting: Setting, end: str) -> None:
    """The worker's token stays valid after its container ended, and may have been accepted before."""
    cluster = setting.cluster
    token = cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    assert (await setting.get(token)).status_code == 200
    job = cluster.jobs["ns", "job-it"]
    owner = ResourceRef(kind=Kind.TRANSCRIPTION, namespace="ns", name="it", uid="uid-ns-it")
    job["status"] = {"conditions": [{"type": end, "status": "True"}]}
    setting.cache.note_job(owner, JobView.parse(job))  # delivered by the watch
    assert (await setting.get(token)).status_code == 403
    assert (await setting.post(token, "/v1/uploads", {"files": [offer("audio.flac")]})).status_code == 403
    fresh = cluster.worker(Kind.TRANSCRIPTION, "other", Stage.PREPARE)
    cluster.jobs["ns", "job-other"]["status"] = job["status"]
    assert (await setting.get(fresh)).status_code == 403


async def test_workers_get_no_order_of_another_job(setting: Setting) -> None:
    """All pairs of two workers: each URL is under the worker's own uid, and a Job that names another worker's resource
    is refused. The share of successful requests is the control.
    """
    cluster = setting.cluster
    tokens = {
        (kind, stage, namespace): cluster.worker(kind, f"{kind.value.lower()}-{stage}", stage, namespace)
        for kind, stage, namespace in itertools.product(Kind, Stage, ("ns", "other"))
        if (kind, stage) != (Kind.IMAGE_GENERATION, Stage.PREPARE)
    }
    names = {Stage.PREPARE: {Kind.LORA_TRAINING: "dataset.zip", Kind.TRANSCRIPTION: "audio.flac"}}
    names[Stage.COLLECT] = {
        Kind.LORA_TRAINING: "model.safetensors",
        Kind.TRANSCRIPTION: "transcript.txt",
        Kind.IMAGE_GENERATION: "image_1.png",
    }
    good = 0
    for (kind, stage, namespace), token in tokens.items():
        uid = f"uid-{namespace}-{kind.value.lower()}-{stage}"
        body = {"files": [offer(names[stage][kind])]}
        replies = [await setting.get(token), await setting.post(token, "/v1/uploads", body)]
        good += sum(reply.status_code == 200 for reply in replies)
        for reply in replies:
            assert uid in reply.text
            others = {f"/uid-{n}-{k.value.lower()}-{s}/" for k, s, n in tokens} - {f"/{uid}/"}
            assert not [other for other in others if other in reply.text]
    assert good == 2 * len(tokens)
    # A tenant who may create Jobs creates one with the owner reference of another worker's Job.
    foreign = 0
    for kind, stage, namespace in tokens:
        name = f"{kind.value.lower()}-{stage}"
        forged = cluster.jobs[namespace, f"job-{name}"]["metadata"] | {"name": "forged", "uid": f"forged-{namespace}"}
        cluster.jobs[namespace, "forged"] = {"metadata": forged}
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": "forged",
            "uid": f"forged-{namespace}",
            "controller": True,
        }
        cluster.pods[namespace, "forged"] = {"metadata": {"uid": "forged-pod", "ownerReferences": [owner]}}
        token = cluster.token(f"forged {kind} {stage} {namespace}", namespace, "forged", "forged-pod")
        foreign += (await setting.get(token)).status_code == 200
    assert foreign == 0


async def test_an_assignment_is_remembered_for_a_while(setting: Setting) -> None:
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    assert (await setting.get(token)).status_code == 200
    setting.cluster.server.token_reviews.clear()
    assert (await setting.get(token)).status_code == 200
    setting.seconds += 301
    assert (await setting.get(token)).status_code == 401


@pytest.mark.parametrize(
    ("namespace", "url"),
    [
        ("ns", "s3://minutes-of-the-board/a.mp3"),
        ("third", "s3://recordings/a.mp3"),
        ("ns", "s3://assets/transcripts/victim/uid/audio.flac"),
        ("ns", "s3://recordings/../assets/transcripts/victim/uid/audio.flac"),
    ],
)
async def test_a_source_that_a_forged_status_names_is_not_signed(namespace: str, url: str, setting: Setting) -> None:
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE, namespace)
    run = setting.cluster.resources[Kind.TRANSCRIPTION, namespace, "it"]["status"]["run"]
    run["spec"] = {"source": {"url": url}}
    run["runHash"] = run_hash(Kind.TRANSCRIPTION, parse_spec(Kind.TRANSCRIPTION, run["spec"]))
    answer = await setting.get(token)
    assert answer.status_code == 403
    assert "X-Amz" not in answer.text


async def test_a_worker_is_told_the_user_that_was_admitted(setting: Setting) -> None:
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    run = setting.cluster.resources[Kind.TRANSCRIPTION, "ns", "it"]["status"]["run"]
    run["spec"] = run["spec"] | {"userId": "victim"}
    order = WorkOrder.model_validate((await setting.get(token)).json())
    assert order.user_id == "ns"
    grants = await setting.post(token, "/v1/uploads", {"files": [offer("audio.flac", contentType="audio/flac")]})
    assert "victim" not in grants.text


def test_words_of_a_worker_are_a_list_or_without_controls() -> None:
    """A message has what a person may read; log lines keep their ends."""
    body = outcome_of(Kind.TRANSCRIPTION, Stage.PREPARE, "uid").model_dump(mode="json", by_alias=True)
    body |= {"message": "a\x1b[1A\r\nb\u202e"}
    body["facts"] |= {"notes": ["a\x9bb"]}
    outcome = Outcome.model_validate(body)
    assert outcome.message == r"a\x1b[1A\r\nb\u202e"
    assert isinstance(outcome.facts, AudioFacts)
    assert outcome.facts.notes == (r"a\x9bb",)
    assert len(Outcome.model_validate(body | {"message": "\x1b" * 1000}).message) == 1024
    assert Progress(step=Step.WAITING, fraction=0, message="\x07").message == r"\x07"


LONG = "x" * 5000


@pytest.mark.parametrize(
    "hostile",
    [
        {"facts": {"rejected": {LONG: 1}}},
        {"facts": {"rejected": {"The estimated cost is 0.02 USD": 1}}},
        {"facts": {"rejected": {"\x1b[2A\rBlurred": 1}}},
        {"seconds": {LONG: 1}},
        {"seconds": {"\x1b[2A": 1}},
        {"files": [{"name": LONG, "sizeBytes": 1, "sha256": "ab" * 32, "contentType": "image/jpeg"}]},
        {"files": [{"name": "dataset.zip", "sizeBytes": 1, "sha256": "ab" * 32, "contentType": LONG}]},
        {"files": [{"name": "dataset.zip", "sizeBytes": -1, "sha256": "ab" * 32, "contentType": "a/b"}]},
        {"jobId": LONG},
        {"attempt": -1},
    ],
)
def test_no_text_of_an_outcome_is_too_long_for_a_status(hostile: dict[str, Any]) -> None:
    """Facts are written to the status, which the API server limits to 1.5 MiB; an outcome may have 4 MiB."""
    body = outcome_of(Kind.LORA_TRAINING, Stage.PREPARE, "uid").model_dump(mode="json", by_alias=True)
    assert Outcome.model_validate(body)
    facts = body["facts"] | hostile.get("facts", {})
    with pytest.raises(ValidationError):
        Outcome.model_validate(body | hostile | {"facts": facts})


# Lifetime of the signed URLs: the deadline of the pod, which counts from its start

HOUR = 3600


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        (0, HOUR + 900),  # the Job is days old: it has waited for a node
        (1800, HOUR - 1800 + 900),
        (HOUR + 1800, 60),
        (-HOUR, HOUR + 900),  # a node whose clock is ahead
        (None, HOUR + 900),
    ],
)
async def test_urls_last_until_the_deadline_of_the_pod(age: int | None, seconds: int, setting: Setting) -> None:
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    began = datetime.now(UTC) - timedelta(seconds=age or 0)
    if age is not None:
        setting.cluster.pods["ns", "pod-it"]["status"] = {"startTime": began.strftime("%Y-%m-%dT%H:%M:%SZ")}
    url = (await setting.get(token)).json()["outcomeUrl"]
    assert abs(int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0]) - seconds) <= 30


async def test_a_pod_of_a_job_starts_after_its_job(setting: Setting) -> None:
    """A start before the Job was recorded is of another node's clock, or forged."""
    token = setting.cluster.worker(Kind.TRANSCRIPTION, "it", Stage.PREPARE)
    document = setting.jobs._collection.find_one({})
    assert document is not None
    setting.jobs._collection.update_one({}, {"$set": {"createdAt": datetime.now(UTC)}})
    setting.cluster.pods["ns", "pod-it"]["status"] = {"startTime": "2020-01-01T00:00:00Z"}
    url = (await setting.get(token)).json()["outcomeUrl"]
    assert int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0]) >= HOUR + 800
