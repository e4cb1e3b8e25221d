"""Gateway over real S3 and MongoDB servers, filled by the operator's own stores."""

from datetime import UTC, datetime
from typing import Any

from pymongo.database import Database

from contentgen_contract.names import Kind, Phase
from contentgen_contract.resources.spec import parse_spec, run_hash
from contentgen_contract.resources.status import OutputFile, ResourceStatus, RunStatus, VersionStatus
from contentgen_gateway.stores.files import BucketFiles
from contentgen_operator.state.observed import Resource
from contentgen_operator.state.purchases import Purchase, PurchaseKey, PurchaseState
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime import s3
from contentgen_simulation.gateway.cluster import WritableWorld

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SPECS: dict[Kind, dict[str, Any]] = {
    Kind.LORA_TRAINING: {
        "userId": "user123",
        "loraName": "jesse_avatar",
        "triggerWord": "jf",
        "source": {"url": "https://h/talk.mp4"},
        "metadata": {"tags": ["avatar", "headshot"], "description": "Jesse professional headshot avatar"},
    },
    Kind.IMAGE_GENERATION: {"userId": "user123", "prompt": "jf in a suit", "model": "flux-lora"},
    Kind.TRANSCRIPTION: {"userId": "user123", "source": {"url": "s3://recordings/podcast-ep-01.mp3"}},
}
IMAGE = {"name": "image_1.png", "thumbnail": "image_1_thumb.png", "width": 64, "height": 48, "sizeBytes": 9}
OUTPUTS: dict[Kind, tuple[str, list[str], dict[str, Any]]] = {
    Kind.LORA_TRAINING: ("loras/user123/{}/v1/", ["model.safetensors", "config.json", "preview.png"], {}),
    Kind.IMAGE_GENERATION: (
        "generated-images/user123/{}/",
        ["image_1.png", "image_1_thumb.png"],
        {"seed": 1, "images": [IMAGE]},
    ),
    Kind.TRANSCRIPTION: (
        "transcripts/user123/{}/",
        ["transcript.json", "transcript.txt"],
        {"wordCount": 861, "durationSeconds": 282.0, "speakers": 2, "language": "en"},
    ),
}
TYPES = {kind: f"{kind.record_type}-1" for kind in Kind}


class StoredWorld(WritableWorld):
    """Ann has the namespace red, Bob blue. A job's id is its resource's uid; its name is `it-` and the id."""

    def __init__(self, database: Database[dict[str, Any]], endpoint: str) -> None:
        where = {"bucket": "assets", "region": "us-east-1", "endpoint": endpoint, "public_endpoint": None}
        files = BucketFiles(session=s3.session(), **where)  # type: ignore[arg-type]  # strings, and one None
        super().__init__(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"), database=database, files=files)
        self.storage = Storage(**where)  # type: ignore[arg-type]  # as above
        self.storage.ensure_bucket()
        self.written = RecordStore(database["jobs"], self.storage)
        self.ledger = Ledger(database["ledger"])
        self.written.create_indexes()
        self.ledger.create_indexes()
        self.dependencies.shares.create_indexes()

    async def make(self, kind: Kind, job: str, namespace: str = "red", loras: tuple[str, ...] = ()) -> None:
        """Store a finished run with its files and purchase."""
        prefix, names, facts = OUTPUTS[kind]
        folder = prefix.format(job)
        for name in names:
            content = f"{name} of {job}".encode()
            self.storage._client.put_object(Bucket="assets", Key=folder + name, Body=content)
        meta = {
            "name": f"it-{job}", "namespace": namespace, "uid": job, "resourceVersion": "1",
            "creationTimestamp": NOW.isoformat(),
        }  # fmt: skip
        resource = Resource.parse(kind, {"metadata": meta, "spec": SPECS[kind]})
        version = VersionStatus(
            version=1,
            job_id=job,
            completed_at=NOW,
            files=tuple(OutputFile(key=folder + name, size_bytes=1_000_000) for name in names),
            facts=facts,
        )
        run = RunStatus(
            number=1, version=1, run_hash=run_hash(kind, parse_spec(kind, SPECS[kind])), generation=1,
            spec=SPECS[kind], started_at=NOW, loras=loras,
        )  # fmt: skip
        status = ResourceStatus(
            phase=Phase.COMPLETED, job_id=job, progress=100, run=run, versions=(version,), start_time=NOW,
            completion_time=NOW,
        )  # fmt: skip
        await self.written.write(resource, status)
        if namespace == "red":
            self.resource(kind, f"it-{job}", job, status)
        key = PurchaseKey(namespace=namespace, kind=kind, name=job, run_hash="a", rerun=None, attempt=1)
        await self.ledger.intend(
            key,
            Purchase(
                state=PurchaseState.COLLECTED, job_id=job, namespace=namespace, type=kind.record_type,
                user_id="user123", provider="fal", model=f"model-of-{kind.value}", correlation_key=job, created_at=NOW,
                changed_at=NOW, actual_micros=250_000, cost_source="billable units × unit price",
            ),
        )  # fmt: skip

    async def get(self, path: str, caller: str = "ann", code: int = 200, **params: Any) -> dict[str, Any]:
        """JSON response to a caller, with this status code."""
        async with self.client(caller) as client:
            answer = await client.get(path, params=params or None)
        assert answer.status_code == code, answer.text
        body: dict[str, Any] = answer.json()
        return body
