"""PublishedFacts about S3, clusters and speech models compared with what the product sends and knows."""

from copy import deepcopy
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records.ownership import Owner
from contentgen_contract.resources.languages import CODES
from contentgen_contract.resources.prices import PRICES, SPEECH_MODELS, USD
from contentgen_contract.worker.orders import FileOffer
from contentgen_operator.kube.job_manifests import JobTemplate, job_manifest
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime import s3
from contentgen_simulation.facts import fact_files, load

S3 = load("s3/requests.json")
MODELS = load("assemblyai/speech-models.json").document
MUTATIONS = [path for path in fact_files() if path.startswith("kubernetes/mutations/")]
KEYS = boto3.session.Session(aws_access_key_id="id", aws_secret_access_key="secret")
REF = ResourceRef(kind=Kind.TRANSCRIPTION, namespace="n", name="t", uid="u")
TEMPLATE = JobTemplate(
    image="contentgen-worker:1",
    resources={
        "requests": {"cpu": "250m", "memory": "512Mi"},
        "limits": {"memory": "4Gi", "ephemeral-storage": "24Gi"},
    },
    deadline_seconds=3600,
    worker_api_url="https://worker-api",
    worker_api_ca="CA",
)


def patched(document: Any, operation: dict[str, Any]) -> Any:
    """Document after one operation `add` or `replace` of a JSON patch (RFC 6902). Raises LookupError."""
    changed = deepcopy(document)
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    holder = changed
    for part in parents:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    if isinstance(holder, list):
        index = len(holder) if last == "-" else int(last)
        holder[index : index + (operation["op"] == "replace")] = [operation["value"]]
    elif operation["op"] == "replace" and last not in holder:
        raise LookupError(last)
    else:
        holder[last] = operation["value"]
    return changed


@pytest.mark.parametrize("path", MUTATIONS)
def test_mutations_apply_to_a_worker_job(path: str) -> None:
    job, document = job_manifest(REF, 1, Stage.PREPARE, 1, TEMPLATE), load(path).document
    for mutation in document["mutations"]:
        assert mutation["effect"] in document["effects"]
        changed = {"job": job, "pod": job["spec"]["template"]}[mutation["at"]]
        for operation in mutation["patch"]:
            changed = patched(changed, operation)


def test_upload_has_the_documented_signed_headers() -> None:
    storage = Storage(bucket="b", region="eu-central-1", endpoint=None, public_endpoint=None, session=KEYS)
    offer = FileOffer(name="audio.flac", size_bytes=1, sha256="0" * 64, content_type="audio/flac")
    grant = storage.grant(Owner(folders=frozenset({"p/"})), "p/", offer, timedelta(hours=1))
    query = {name: values[0] for name, values in parse_qs(urlsplit(grant.url).query).items()}
    fact = S3.document["requests"]["createOnly"]
    assert query["X-Amz-SignedHeaders"].split(";") == fact["presigned"]["signedHeaders"]
    assert S3.problems(fact["query"], query | {"X-Amz-Expires": int(query["X-Amz-Expires"])}) == []
    assert S3.problems(fact["headers"], {name.lower(): value for name, value in grant.headers.items()}) == []


def test_deletion_sends_the_documented_checksum() -> None:
    client = s3.connect(KEYS, "eu-central-1", "http://s3.example")
    headers: dict[str, str] = {}

    def kept(request: Any, **_: Any) -> None:
        headers.update({name.lower(): str(value) for name, value in request.headers.items()})
        raise InterruptedError

    client.meta.events.register("before-send.s3.DeleteObjects", kept)
    with pytest.raises(InterruptedError):
        client.delete_objects(Bucket="b", Delete={"Objects": [{"Key": "k"}]})
    fact = S3.document["deleteManyChecksum"]
    assert fact["sends"] in headers
    assert ("content-md5" in headers) is fact["contentMd5"]


@pytest.mark.parametrize("service", S3.document["services"])
def test_support_of_a_service_has_a_source(service: str) -> None:
    for request in S3.document["requests"].values():
        support = request["services"][service]
        assert (support["supported"] is None) == (not support["sources"])


def test_speech_models_are_accepted_and_priced_as_published() -> None:
    published = {model["id"]: model for model in MODELS["models"]}
    surcharge = MODELS["surchargesUsdPerHour"]["speaker_labels"]["usd"]
    for name in SPEECH_MODELS:
        price = PRICES[f"assemblyai/{name}"]
        assert published[name]["acceptedUntil"] is None
        assert price.micros == float(published[name]["usdPerHour"]) * USD
        assert price.speaker_labels_micros == float(surcharge) * USD


def test_language_codes_are_those_of_a_named_speech_model() -> None:
    published = {model["id"]: set(model["languages"] or ()) for model in MODELS["models"]}
    assert set(CODES) == set.union(*(published[name] for name in SPEECH_MODELS))
