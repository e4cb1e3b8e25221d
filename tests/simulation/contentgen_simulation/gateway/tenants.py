"""Tenants with jobs, and an oracle: no request of a caller reads, changes or reaches other tenants' data.

The oracle knows the callers' rights, not the endpoints.
"""

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httpx

from contentgen_contract.names import Kind
from contentgen_contract.records.record import distinct_words
from contentgen_runtime.kube import Body
from contentgen_runtime.tenancy import Tenancy
from contentgen_simulation.gateway.bucket import RecordingBucket
from contentgen_simulation.gateway.server import START, FakeApi, GatewayWorld

RIGHTS = (
    ("ann", "*", "*", "red"),
    ("bob", "*", "*", "blue"),
    ("carol", "get", "imagegenerations", "red"),
    ("carol", "list", "imagegenerations", "red"),
    ("vera", "get", "*", "red"),
    ("vera", "list", "*", "red"),
    ("root", "*", "*", "*"),
)
CALLERS = ("ann", "bob", "carol", "vera", "dave", "root", None)
"""dave may nothing; None has no token."""
OWNERS = {"red": "ann", "blue": "bob"}
MISSING = "00000000-0000-4000-8000-999999999999"
_AGAIN = "2100-01-01T00:00:00Z"  # after everything that was planted
_PATH = re.compile(r"/apis?(/[a-z0-9][a-z0-9.-]*)+(\?[a-zA-Z]+=[\w%.=,-]*(&[a-zA-Z]+=[\w%.=,-]*)*)?")
_SEEING = {"downloads", "lastAccessed"}  # record fields changed by reading an asset


@dataclass(frozen=True)
class PlantedJobs:
    """Job of a tenant; its canary is in all its readable data, and no caller sends it."""

    job_id: str
    kind: Kind
    namespace: str
    user: str
    canary: str

    @property
    def owner(self) -> str:
        """Caller with all rights to the job."""
        return OWNERS[self.namespace]

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Key prefixes of the job's files."""
        tops = {
            Kind.LORA_TRAINING: ("loras", "datasets"),
            Kind.IMAGE_GENERATION: ("generated-images",),
            Kind.TRANSCRIPTION: ("transcripts",),
        }[self.kind]
        return (*(f"{top}/{self.user}/{self.job_id}/" for top in tops), f"runs/{self.job_id}/")


class TenantApi(FakeApi):
    """API server that authenticates `CALLERS` only.

    `looked` and `changed` list requests for resources as (verb or method, plural, namespace).
    """

    def __init__(self, rights: Any = ()) -> None:
        super().__init__(rights)
        self.looked: list[tuple[str, str, str]] = []
        self.changed: list[tuple[str, str, str]] = []

    def allows(self, caller: str | None, verb: str, plural: str, namespace: str) -> bool:
        """Whether RBAC allows a request."""
        return self.server.allows(caller, verb, plural, namespace)

    async def review_token(self, token: str, audience: str) -> Body:
        """Authenticate the callers and nobody else."""
        return await super().review_token(token if token in CALLERS else "unknown", audience)

    async def call(self, method: str, path: str, body: Body | None = None) -> Body:
        """Reviews, requests for resources of our kinds, and events, of which there are none."""
        assert _PATH.fullmatch(path), f"no path of ours: {path!r}"
        return {"items": []} if "/events?" in path else await super().call(method, path, body)

    def _resource(self, method: str, parents: list[str], last: str, body: Body | None) -> Body:
        single = len(parents) == 3
        plural, namespace = parents[2] if single else last, parents[1]
        if method == "GET":
            self.looked.append(("get" if single else "list", plural, namespace))
        else:
            self.changed.append((method, plural, namespace))
        return super()._resource(method, parents, last, body)


class TenantWorld(GatewayWorld):
    """Two namespaces with jobs of all kinds for each of two users, and the oracle `judge`."""

    api_class = TenantApi
    api: TenantApi

    def __init__(self, **settings: Any) -> None:
        super().__init__(*RIGHTS, **settings)
        self._rights: dict[tuple[str | None, Kind, str, tuple[str, ...]], bool] = {}
        self.bucket = RecordingBucket()
        self.bucket.behind(self.dependencies.files)
        self.jobs = tuple(
            self._plant(number, kind, namespace, user)
            for number, (namespace, user, kind) in enumerate(
                (namespace, user, kind) for namespace in OWNERS for user in ("ann", "bob") for kind in Kind
            )
        )
        for job in self.jobs:
            if job.kind is Kind.IMAGE_GENERATION:
                self._collect(job)
                self._orphan(job)
        begun = tuple(self._begin(number, namespace) for number, namespace in enumerate(OWNERS, 90))
        self.running = begun + tuple(self._give_up(number, namespace) for number, namespace in enumerate(OWNERS, 80))
        self._before = self.records()

    def _collect(self, job: PlantedJobs) -> None:
        """Insert a collection with the job's canary."""
        self.database["collections"].insert_one(
            {
                "collectionId": f"collection-{job.job_id}", "namespace": job.namespace, "userId": job.user,
                "name": job.canary, "description": "", "createdBy": job.owner, "createdAt": START, "updatedAt": START,
                "assets": [{"type": job.kind.record_type, "jobId": job.job_id}],
            }
        )  # fmt: skip

    def _orphan(self, job: PlantedJobs) -> None:
        """Insert a purchase of a deleted resource with the job's canary in its name."""
        self.database["ledger"].insert_one(
            {
                "_id": f"{job.namespace}/{job.kind}/{job.canary}-gone/hash/-/1", "purchaseId": f"p-{job.job_id}",
                "state": "succeeded", "jobId": f"gone-{job.job_id}", "namespace": job.namespace, "userId": job.user,
                "type": job.kind.record_type, "provider": "fal", "model": "fal-ai/flux-lora", "requestId": "r",
                "correlationKey": "m", "resultKey": "k", "createdAt": START, "changedAt": START, "orphanedAt": START,
            }
        )  # fmt: skip

    def _begin(self, number: int, namespace: str) -> PlantedJobs:
        """Insert a running job, for lists only."""
        kind, user, canary = Kind.TRANSCRIPTION, OWNERS[namespace], f"canary{namespace}{number:02}x"
        source = {"sourceVideo": {"url": f"https://h/{canary}.mp3", "filename": f"{canary}.mp3", "sizeBytes": 5}}
        job_id = self.job(
            number, kind, namespace=namespace, userId=user, name=f"{canary}-job", status="processing",
            phase="Transcribing", progress=40, terms=distinct_words([canary]), uses=[], **source,
        )  # fmt: skip
        return PlantedJobs(job_id, kind, namespace, user, canary)

    def _give_up(self, number: int, namespace: str) -> PlantedJobs:
        """Insert a failed job with its resource, for lists only."""
        kind, user, canary = Kind.TRANSCRIPTION, OWNERS[namespace], f"canary{namespace}{number:02}x"
        name = f"{canary}-job"
        job_id = self.job(
            number, kind, namespace=namespace, userId=user, name=name, status="failed", phase="Failed", uses=[]
        )
        self.api.resources[namespace, kind.plural, name] = {
            "metadata": {"name": name, "namespace": namespace, "uid": job_id, "generation": 1, "resourceVersion": "1"},
            "spec": {},
            "status": {"phase": "Failed", "reason": "JobFailed", "jobId": job_id, "run": {"number": 1, "version": 1}},
        }
        return PlantedJobs(job_id, kind, namespace, user, canary)

    def _plant(self, number: int, kind: Kind, namespace: str, user: str) -> PlantedJobs:
        canary = f"canary{namespace}{number:02}x"
        job_id = f"00000000-0000-4000-8000-{number:012}"
        planted = PlantedJobs(job_id, kind, namespace, user, canary)
        versions, config = _made(planted)
        words = [canary, "common", user]
        metadata = {"tags": ["common", canary], "description": f"common {canary}", "isPublic": False}
        source = {"sourceVideo": {"url": f"https://h/{canary}.mp4", "filename": f"{canary}.mp4", "sizeBytes": 5}}
        more = source if kind is not Kind.IMAGE_GENERATION else {}
        self.job(
            number, kind, namespace=namespace, userId=user, name=f"{canary}-job", config=config, metadata=metadata,
            versions=versions, terms=distinct_words(words), uses=[], bytes=1000, **more,
        )  # fmt: skip
        self.api.resources[namespace, kind.plural, f"{canary}-job"] = {
            "metadata": {
                "name": f"{canary}-job",
                "namespace": namespace,
                "uid": job_id,
                "generation": 1,
                "resourceVersion": "1",
            },
            "spec": {},
            "status": {"phase": "Completed", "jobId": job_id, "run": {"version": 1}},
        }
        if kind is Kind.TRANSCRIPTION:
            self._say(planted)
        for prefix in planted.prefixes:
            folder = f"{prefix}v1/" if prefix.startswith("loras/") else prefix
            for name in _FILES[kind]:
                self.bucket.objects[folder + name] = json.dumps(_DOCUMENT | {"text": canary}).encode()
        return planted

    def _say(self, job: PlantedJobs) -> None:
        """Insert the transcript's indexed passages."""
        text = f"common {job.canary}"
        self.database["transcripts"].insert_one(
            {
                "jobId": job.job_id, "namespace": job.namespace, "userId": job.user, "type": job.kind.record_type,
                "createdAt": START, "version": 1, "number": 0, "start": 0.0, "end": 1.0, "speaker": "A", "text": text,
                "terms": distinct_words([text]), "metadata": {"isPublic": False},
            }
        )  # fmt: skip

    def records(self) -> dict[str, str]:
        """Current records of the planted jobs as text, read past the driver because it happens at every request."""
        kept = self.database["jobs"]._store.documents
        return {
            record["jobId"]: repr({key: value for key, value in record.items() if key not in _SEEING})
            for record in kept
        }

    def accept(self) -> None:
        """Accept the current state as the baseline."""
        self._before = self.records()
        self.bucket.reached.clear()
        self.api.changed.clear()
        self.api.looked.clear()

    def may(self, caller: str | None, job: PlantedJobs, *verbs: str) -> bool:
        """Whether the caller has one of these rights to a job; cached, because it is checked at every request."""
        asked = (caller, job.kind, job.namespace, verbs)
        if asked not in self._rights:
            self._rights[asked] = self._may(*asked)
        return self._rights[asked]

    def _may(self, caller: str | None, kind: Kind, namespace: str, verbs: tuple[str, ...]) -> bool:
        return any(self.api.allows(caller, verb, kind.plural, namespace) for verb in verbs)

    def judge(self, caller: str | None, answer: httpx.Response) -> None:
        """Raises AssertionError if the request reached another tenant's data. Its changes become the baseline."""
        what = f"{caller}: {answer.request.method} {answer.request.url} → {answer.status_code}"
        asked = unquote(str(answer.request.url)) + answer.request.content.decode(errors="replace")
        body = f"{answer.headers}{answer.text}"
        assert answer.status_code != 500, f"{what}: {body[:300]}"
        reached, self.bucket.reached = set(self.bucket.reached), set()
        changed, self.api.changed = self.api.changed[:], []
        every = (*self.jobs, *self.running)
        seen = [job for job in every if self.may(caller, job, "get", "list")]
        for job in every:
            if job not in seen and job.canary not in asked:
                assert job.canary not in body, f"{what}: it shows {job}"
        for key in reached:
            if self._is_of_a_new_job(caller, key):
                continue
            assert any(key.startswith(prefix) for job in seen for prefix in job.prefixes), f"{what}: reached {key!r}"
        for method, plural, namespace in changed:
            verb = {"POST": "create", "PATCH": "patch", "PUT": "patch", "DELETE": "delete"}[method]
            assert self.api.allows(caller, verb, plural, namespace), f"{what}: {verb} {plural} in {namespace}"
        looked, self.api.looked = self.api.looked[:], []
        for verb, plural, namespace in looked:
            may = any(self.api.allows(caller, each, plural, namespace) for each in ("get", "list", "create"))
            assert may, f"{what}: asked for {verb} {plural} in {namespace}"
        self._judge_records(caller, what)

    def _is_of_a_new_job(self, caller: str | None, key: str) -> bool:
        """Whether the key belongs to a newer job that the caller may see."""
        kept = {document["jobId"]: document for document in self.database["jobs"]._store.documents}
        _, _, job_id, *rest = [*key.split("/"), "", ""]
        record = kept.get(job_id)
        planted = {job.job_id for job in self.jobs}
        if not rest or record is None or job_id in planted or key.split("/")[1] != record["userId"]:
            return False
        kind = next(kind for kind in Kind if kind.record_type == record["type"])
        return self._may(caller, kind, record["namespace"], ("get", "list"))

    def _judge_records(self, caller: str | None, what: str) -> None:
        now = self.records()
        for document in self.database["jobs"]._store.documents:
            if document["jobId"] not in self._before:
                kind = next(kind for kind in Kind if kind.record_type == document["type"])
                assert self._may(caller, kind, document["namespace"], ("create",)), (
                    f"{what}: changed {document['namespace']}"
                )
        for job in self.jobs:
            if not self.may(caller, job, "patch", "delete", "create"):
                assert now.get(job.job_id) == self._before.get(job.job_id), f"{what}: changed {job}"
        self._before = now


class Recreated(TenantWorld):
    """World in which the namespace red was deleted and created again with the same users."""

    async def recreate(self) -> None:
        """Recreate the namespace: it is another tenant; its former jobs are visible only with rights everywhere."""
        await Tenancy(self.api, self.database).of("red")
        self.api.namespaces["red"] = ("another-namespace", _AGAIN)
        self.api.store.objects = {
            place: resource for place, resource in self.api.resources.items() if place[0] != "red"
        }
        self._rights.clear()
        self.accept()

    def may(self, caller: str | None, job: PlantedJobs, *verbs: str) -> bool:
        """Permission as in TenantWorld, except for the jobs planted in red."""
        place = "*" if job.namespace == "red" and "red" in self.api.namespaces else job.namespace
        asked = (caller, job.kind, place, verbs)
        if asked not in self._rights:
            self._rights[asked] = self._may(*asked)
        return self._rights[asked]


_DOCUMENT = {"text": "", "words": [], "images": [], "files": [], "rejected": []}
_FILES = {
    Kind.LORA_TRAINING: ("model.safetensors", "dataset.json", "preview.png", "config.json"),
    Kind.IMAGE_GENERATION: ("image_1.png", "image_1_thumb.png"),
    Kind.TRANSCRIPTION: ("transcript.json", "transcript.txt", "transcript.vtt", "transcript.srt"),
}


def _made(job: PlantedJobs) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Versions and config in the operator's format."""
    base = "http://s3.test/assets/"
    common = {"version": 1, "createdAt": None}
    if job.kind is Kind.LORA_TRAINING:
        key = f"loras/{job.user}/{job.job_id}/v1/model.safetensors"
        version = {"modelUrl": base + key, "s3Key": key, "sizeBytes": 9, "previewUrl": None, "config": {}}
        return [common | version], {"loraName": job.canary, "trigger": "jf", "model": "m", "steps": 1000}
    if job.kind is Kind.IMAGE_GENERATION:
        prefix = f"generated-images/{job.user}/{job.job_id}/"
        image = {
            "url": base + prefix + "image_1.png", "s3Key": prefix + "image_1.png", "width": 8, "height": 8,
            "thumbnailUrl": base + prefix + "image_1_thumb.png", "sizeBytes": 9,
        }  # fmt: skip
        return [common | {"images": [image], "seed": 1}], {"model": "flux-pro", "prompt": job.canary, "loras": []}
    prefix = f"transcripts/{job.user}/{job.job_id}/"
    urls = {"transcriptUrl": "json", "textUrl": "txt", "srtUrl": "srt", "vttUrl": "vtt"}
    version = {name: f"{base}{prefix}transcript.{suffix}" for name, suffix in urls.items()}
    facts = {"wordCount": 3, "duration": 5.0, "speakers": 1, "language": "en", "audibleDuration": 5.0}
    return [common | version | facts], {}
