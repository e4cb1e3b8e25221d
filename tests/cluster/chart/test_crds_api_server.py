"""CRD validation by the real API server accepts and rejects the same specs as the models, and names the wrong field.

Needs a cluster: KUBECONFIG, or the one that `make cluster` started. Everything but one waiting ImageGeneration is
a server-side dry run.
"""

import copy
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client.exceptions import ApiException
from pydantic import ValidationError

from contentgen_cluster import release
from contentgen_contract.names import API_VERSION, GROUP, VERSION, Condition, Kind, Phase, Reason, Stage, Step
from contentgen_contract.resources.spec import SPECS, parse_spec
from contentgen_contract.resources.spec_checks import first_problem
from contentgen_contract.resources.status import (
    ConditionStatus,
    Cost,
    JobRef,
    OutputFile,
    ResourceStatus,
    RunStatus,
    VersionStatus,
    dump_status,
)
from kubernetes import client, config

ROOT = Path(__file__).resolve().parents[3]
NAMESPACE = f"crd-tests-{secrets.token_hex(3)}"
REMOVED = object()
SECRET = "hunter2"
AS_OPERATOR = {
    "Impersonate-User": f"system:serviceaccount:{release.NAMESPACE}:contentgen",
    "Impersonate-Group": "system:masters",  # works with and without a release
}
"""Impersonation headers of an account that may write a status despite the chart's admission policies."""

LORA, IMAGE, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
SPEC: dict[Kind, dict[str, Any]] = {
    LORA: {"loraName": "a", "triggerWord": "jf", "source": {"url": "https://example.com/a.mp4"}},
    IMAGE: {"prompt": "A house"},
    TRANSCRIPT: {"source": {"url": "s3://recordings/a.mp3"}},
}
Edits = dict[str, Any]
A_LORA = {"loraRef": {"name": "avatar"}}

# kind, edits of the spec above, field that the error must name
WRONG: list[tuple[Kind, Edits, str]] = [
    (LORA, {"loraName": REMOVED}, "spec.loraName"),
    (LORA, {"loraName": ""}, "spec.loraName"),
    (LORA, {"loraName": "../up"}, "spec.loraName"),
    (LORA, {"loraName": "a" * 64}, "spec.loraName"),
    (LORA, {"loraName": 7}, "spec.loraName"),
    (LORA, {"triggerWord": REMOVED}, "spec.triggerWord"),
    (LORA, {"triggerWord": "two words"}, "spec.triggerWord"),
    (LORA, {"triggerWord": "j" * 33}, "spec.triggerWord"),
    (LORA, {"userId": "a/b"}, "spec.userId"),
    (LORA, {"userId": "-a"}, "spec.userId"),
    (LORA, {"paidAttempts": 0}, "spec.paidAttempts"),
    (LORA, {"paidAttempts": 4}, "spec.paidAttempts"),
    (LORA, {"paidAttempts": "2"}, "spec.paidAttempts"),
    (LORA, {"source": REMOVED}, "spec.source"),
    (LORA, {"source": {}}, "spec.source.url"),
    (LORA, {"source.url": "ftp://example.com/a.mp4"}, "must start with https://, http:// or s3://"),
    (LORA, {"source.url": "file:///etc/passwd"}, "must start with https://, http:// or s3://"),
    (LORA, {"source.url": f"https://me:{SECRET}@example.com/a.mp4"}, "must not contain a user name or password"),
    (TRANSCRIPT, {"source.url": f"ftp://example.com/a.mp3?sig={SECRET}"}, "must start with https://, http:// or s3://"),
    (IMAGE, {"loras": [{"path": f"https://me:{SECRET}@h.example/a"}]}, "must not contain a user name or password"),
    (LORA, {"source.url": "https://example.com/a b.mp4"}, "spec.source.url"),
    (LORA, {"source.url": "https://"}, "spec.source.url"),
    (LORA, {"source.url": "https://[x/a.mp4"}, "spec.source.url"),
    (TRANSCRIPT, {"source.url": "s3://b]c/a.mp3"}, "spec.source.url"),
    (LORA, {"source.url": "https://example.com/" + "a" * 2048}, "spec.source.url"),
    (LORA, {"source.sha256": "abc"}, "spec.source.sha256"),
    (LORA, {"source.sha256": "A" * 64}, "spec.source.sha256"),
    (LORA, {"source.headers": {"Cookie": "x"}}, "spec.source.headers"),
    (LORA, {"dataset": {"minImages": 3}}, "spec.dataset.minImages"),
    (LORA, {"dataset": {"maxImages": 1001}}, "spec.dataset.maxImages"),
    (LORA, {"dataset": {"maxImages": 5}}, "spec.dataset.maxImages"),
    (LORA, {"dataset": {"minImages": 200}}, "maxImages is 150 and minImages is 200; maxImages must be at least"),
    (LORA, {"dataset": {"framesPerScene": 11}}, "spec.dataset.framesPerScene"),
    (LORA, {"dataset": {"resolution": 128}}, "spec.dataset.resolution"),
    (LORA, {"dataset": {"resolution": 1024.5}}, "spec.dataset.resolution"),
    (LORA, {"dataset": {"sceneDetection": {"detector": "magic"}}}, "spec.dataset.sceneDetection.detector"),
    (LORA, {"dataset": {"faces": {"mode": "Blur"}}}, "spec.dataset.faces.mode"),
    (LORA, {"dataset": {"captions": {"template": "a photo"}}}, 'captions.template is "a photo" and must contain'),
    (LORA, {"dataset": {"captions": {"template": "[trigger]" + "a" * 512}}}, "spec.dataset.captions.template"),
    (LORA, {"dataset": {"crop": True}}, "spec.dataset.crop"),
    (LORA, {"dataset": {"crop": "square"}}, "spec.dataset.crop"),
    (LORA, {"dataset": {"borders": "Keep"}}, "spec.dataset.borders"),
    (LORA, {"dataset": {"multipleOf": 0}}, "spec.dataset.multipleOf"),
    (LORA, {"dataset": {"multipleOf": 129}}, "spec.dataset.multipleOf"),
    (LORA, {"dataset": {"speed": "fast"}}, "spec.dataset.speed"),
    (LORA, {"dataset": {"timeRanges": [{}] * 33}}, "spec.dataset.timeRanges"),
    (LORA, {"dataset": {"timeRanges": [{"start": 1}]}}, "spec.dataset.timeRanges[0].start"),
    (LORA, {"dataset": {"timeRanges": [{"end": "1:30"}]}}, "spec.dataset.timeRanges[0].end"),
    (LORA, {"dataset": {"timeRanges": [{}, {"start": "9.5", "end": "9"}]}}, "start is 9.5 and end is 9; end must be"),
    (LORA, {"dataset": {"timeRanges": [{"end": "0"}]}}, "spec.dataset.timeRanges[0].end"),
    (LORA, {"dataset": {"timeRanges": [{"from": "1"}]}}, "spec.dataset.timeRanges[0].from"),
    (LORA, {"dataset": {"sceneDetection": {"minSceneLength": "0,6"}}}, "spec.dataset.sceneDetection.minSceneLength"),
    (
        LORA,
        {"dataset": {"sceneDetection": {"threshold": "27"}}},
        "detector is auto and threshold is 27; threshold must",
    ),
    (LORA, {"dataset": {"sceneDetection": {"detector": "content", "threshold": 27}}}, "sceneDetection.threshold"),
    (LORA, {"dataset": {"sceneDetection": {"detector": "hash", "bins": 64}}}, "spec.dataset.sceneDetection.bins"),
    (LORA, {"dataset": {"sceneDetection": {"windowWidth": 2}}}, "windowWidth must only be set with adaptive"),
    (LORA, {"dataset": {"sceneDetection": {"minContentVal": "15"}}}, "minContentVal must only be set with adaptive"),
    (LORA, {"dataset": {"sceneDetection": {"lumaOnly": False}}}, "lumaOnly must only be set with content or adaptive"),
    (LORA, {"dataset": {"sceneDetection": {"size": 8}}}, "size must only be set with hash"),
    (LORA, {"dataset": {"sceneDetection": {"lowpass": 2}}}, "lowpass must only be set with hash"),
    (LORA, {"dataset": {"sceneDetection": {"method": "Floor"}}}, "method must only be set with threshold"),
    (LORA, {"dataset": {"sceneDetection": {"fadeBias": "0"}}}, "fadeBias must only be set with threshold"),
    (LORA, {"dataset": {"sceneDetection": {"detector": "hash", "size": 9}}}, "spec.dataset.sceneDetection.size"),
    (LORA, {"dataset": {"sceneDetection": {"detector": "adaptive", "windowWidth": 33}}}, "sceneDetection.windowWidth"),
    (LORA, {"dataset": {"sceneDetection": {"detector": "threshold", "fadeBias": "-1.5"}}}, "sceneDetection.fadeBias"),
    (LORA, {"dataset": {"sceneDetection": {"detector": "threshold", "method": "floor"}}}, "sceneDetection.method"),
    (LORA, {"dataset": {"faces": {"mode": "Require", "minSize": "1.1"}}}, "spec.dataset.faces.minSize"),
    (LORA, {"dataset": {"faces": {"mode": "Require", "minSize": 0.2}}}, "spec.dataset.faces.minSize"),
    (LORA, {"dataset": {"faces": {"single": True}}}, "single is true and mode is Ignore; single must only be true"),
    (LORA, {"dataset": {"faces": {"mode": "Prefer", "single": "yes"}}}, "spec.dataset.faces.single"),
    (LORA, {"dataset": {"duplicates": {"threshold": 33}}}, "spec.dataset.duplicates.threshold"),
    (LORA, {"dataset": {"duplicates": {"threshold": -1}}}, "spec.dataset.duplicates.threshold"),
    (LORA, {"dataset": {"captions": {"facts": ["Weather"]}}}, "spec.dataset.captions.facts[0]"),
    (LORA, {"dataset": {"captions": {"facts": True}}}, "spec.dataset.captions.facts"),
    (LORA, {"dataset": {"captions": {"facts": ["Motion"] * 5}}}, "spec.dataset.captions.facts"),
    (LORA, {"dataset": {"captions": {"engine": "GPT"}}}, "spec.dataset.captions.engine"),
    (LORA, {"training": {"model": "Flux Dev"}}, "spec.training.model"),
    (LORA, {"training": {"model": "fal-ai//flux"}}, "spec.training.model"),
    (LORA, {"training": {"steps": 0}}, "spec.training.steps"),
    (LORA, {"training": {"steps": 10001}}, "spec.training.steps"),
    (LORA, {"training": {"learningRate": 0.0004}}, "spec.training.learningRate"),
    (LORA, {"training": {"learningRate": "4e-4"}}, "spec.training.learningRate"),
    (LORA, {"training": {"style": "subject"}}, "spec.training.style"),
    (LORA, {"metadata": {"tags": ["a"] * 33}}, "spec.metadata.tags"),
    (LORA, {"metadata": {"tags": ["$where"]}}, "spec.metadata.tags[0]"),
    (LORA, {"metadata": {"description": "a" * 1025}}, "spec.metadata.description"),
    (LORA, {"metadata": {"isPublic": "yes"}}, "spec.metadata.isPublic"),
    (LORA, {"serviceAccountName": "admin"}, "spec.serviceAccountName"),
    (IMAGE, {"prompt": REMOVED}, "spec.prompt"),
    (IMAGE, {"prompt": ""}, "spec.prompt"),
    (IMAGE, {"prompt": "a" * 4097}, "spec.prompt"),
    (IMAGE, {"model": "a" * 129}, "spec.model"),
    (IMAGE, {"loras": [A_LORA] * 5}, "spec.loras"),
    (IMAGE, {"loras": [{}]}, "neither is set; exactly one of loraRef and path"),
    (IMAGE, {"loras": [A_LORA, A_LORA | {"path": "https://example.com/a"}]}, "both loraRef and path are set"),
    (IMAGE, {"loras": [A_LORA | {"scale": 0.8}]}, "spec.loras[0].scale"),
    (IMAGE, {"loras": [A_LORA | {"scale": "-1"}]}, "spec.loras[0].scale"),
    (IMAGE, {"loras": [{"loraRef": {"name": "Avatar"}}]}, "spec.loras[0].loraRef.name"),
    (IMAGE, {"loras": [{"loraRef": {"name": "a", "namespace": "b"}}]}, "spec.loras[0].loraRef.namespace"),
    (IMAGE, {"loras": [{"path": "s3://loras/a"}]}, "spec.loras[0].path"),
    (IMAGE, {"model": "flux-dev", "loras": [A_LORA]}, "model is flux-dev, which takes no LoRAs"),
    (IMAGE, {"prompt": " \n"}, "prompt must contain a character other than spaces"),
    (IMAGE, {"prompt": "\u3000"}, "prompt must contain a character other than spaces"),
    (IMAGE, {"prompt": "a\u0000b"}, "prompt must contain no control"),
    (IMAGE, {"prompt": "a\u202eb"}, "prompt must contain no control"),
    (IMAGE, {"prompt": "\u0085"}, "prompt must contain no control"),
    (IMAGE, {"loras": [A_LORA, A_LORA]}, "loras must contain each LoRA only once"),
    (IMAGE, {"loras": [{"path": "https://example.com/a"}] * 2}, "loras must contain each LoRA only once"),
    (IMAGE, {"loras": [A_LORA | {"scale": "0.00"}]}, "scale is 0.00; it must be greater than 0"),
    (IMAGE, {"model": "flux-lora-fast-training"}, "model is flux-lora-fast-training; it must be a model that"),
    (IMAGE, {"model": "fal-ai/flux-2-trainer"}, "model is fal-ai/flux-2-trainer; it must be a model that generates"),
    (LORA, {"training": {"model": "flux-dev"}}, "model is flux-dev; it must be a trainer"),
    (LORA, {"training": {"learningRate": "0"}}, "learningRate is 0; it must be greater than 0"),
    (LORA, {"training": {"learningRate": "999999"}}, "learningRate is 999999; it must be"),
    (IMAGE, {"image": {"count": 5}}, "spec.image.count"),
    (IMAGE, {"image": {"size": {"width": 1001}}}, "spec.image.size.width"),
    (IMAGE, {"image": {"size": {"height": 4096}}}, "spec.image.size.height"),
    (IMAGE, {"image": {"format": "gif"}}, "spec.image.format"),
    (IMAGE, {"image": {"seed": -1}}, "spec.image.seed"),
    (TRANSCRIPT, {"source.url": "recordings/a.mp3"}, "must start with https://, http:// or s3://"),
    (TRANSCRIPT, {"options": {"language": "English"}}, "spec.options.language"),
    (TRANSCRIPT, {"options": {"language": "pt-BR"}}, "pt-BR must be a language code of AssemblyAI, such as en, en_us"),
    (TRANSCRIPT, {"options": {"language": "PT_br"}}, "did you mean pt?"),
    (TRANSCRIPT, {"options": {"language": "en-GB"}}, "did you mean en_uk?"),
    (TRANSCRIPT, {"options": {"language": "XX"}}, "auto detects the language"),
    (TRANSCRIPT, {"options": {"language": "deu"}}, "auto detects the language"),
    (TRANSCRIPT, {"source.url": f"HTTPS://user:{SECRET}@example.com/a.mp3"}, "spec.source.url"),
    (TRANSCRIPT, {"source.url": "FTP://example.com/a.mp3"}, "must start with https://, http:// or s3://"),
    (TRANSCRIPT, {"options": {"formats": []}}, "spec.options.formats"),
    (TRANSCRIPT, {"options": {"formats": ["pdf"]}}, "spec.options.formats[0]"),
    (TRANSCRIPT, {"options": {"speakerLabels": 1}}, "spec.options.speakerLabels"),
    (TRANSCRIPT, {"dataset": {}}, "spec.dataset"),
    (TRANSCRIPT, {"suspend": "yes"}, "spec.suspend"),
    (TRANSCRIPT, {"deadlineSeconds": 59}, "spec.deadlineSeconds"),
    (TRANSCRIPT, {"deadlineSeconds": 2592001}, "spec.deadlineSeconds"),
    (TRANSCRIPT, {"deadlineSeconds": "1h"}, "spec.deadlineSeconds"),
    (TRANSCRIPT, {"deletionPolicy": "delete"}, "spec.deletionPolicy"),
    (IMAGE, {"deletionPolicy": "Orphan"}, "spec.deletionPolicy"),
    (IMAGE, {"operatorClass": ""}, "spec.operatorClass"),
    (IMAGE, {"operatorClass": "Team"}, "spec.operatorClass"),
    (IMAGE, {"operatorClass": "a.b"}, "spec.operatorClass"),
    (IMAGE, {"operatorClass": "a" * 64}, "spec.operatorClass"),
]
RIGHT: list[tuple[Kind, Edits]] = [
    (LORA, {}),
    (LORA, {"userId": "user-123"}),
    (LORA, {"paidAttempts": 3}),
    (LORA, {"source.url": "http://contentgen-sandbox.contentgen.svc/media/talk.mp4"}),
    (LORA, {"source.url": "https://example.com/a.mp4?signature=a%20b&user=a@b"}),
    (LORA, {"source.url": "https://example.com:8443", "source.sha256": "0" * 64}),
    (LORA, {"dataset": {}}),
    (LORA, {"dataset": {"minImages": 4, "maxImages": 4}}),
    (LORA, {"dataset": {"sceneDetection": {"detector": "adaptive"}, "captions": {"template": "[trigger], smiling"}}}),
    (LORA, {"dataset": {"speed": "Fast", "multipleOf": 64, "crop": "Face", "duplicates": {"threshold": 0}}}),
    (LORA, {"dataset": {"crop": "None", "timeRanges": []}}),
    (LORA, {"dataset": {"timeRanges": [{}, {"start": "10"}, {"end": "0.5"}, {"start": "9.5", "end": "10"}]}}),
    (LORA, {"dataset": {"timeRanges": [{"start": "999998.5", "end": "999999.00000001"}] * 32}}),
    (LORA, {"dataset": {"sceneDetection": {"minSceneLength": "0.6"}}}),
    (LORA, {"dataset": {"sceneDetection": {"detector": "content", "threshold": "27.5", "lumaOnly": False}}}),
    (LORA, {"dataset": {"sceneDetection": {"detector": "adaptive", "windowWidth": 3, "minContentVal": "12"}}}),
    (LORA, {"dataset": {"sceneDetection": {"detector": "hash", "size": 16, "lowpass": 2}}}),
    (LORA, {"dataset": {"sceneDetection": {"detector": "histogram", "bins": 256}}}),
    (LORA, {"dataset": {"sceneDetection": {"detector": "threshold", "method": "Ceiling", "fadeBias": "-0.5"}}}),
    (LORA, {"dataset": {"faces": {"mode": "Require", "minSize": "0", "single": True}}}),
    (LORA, {"dataset": {"faces": {"mode": "Prefer", "minSize": "1.0", "single": False}}}),
    (LORA, {"dataset": {"captions": {"facts": ["Framing", "Brightness", "Motion", "Position"], "engine": "Vision"}}}),
    (LORA, {"training": {"learningRate": "0.0004", "style": "Style", "model": "fal-ai/flux-lora-portrait-trainer"}}),
    (LORA, {"metadata": {"tags": ["avatar", "head shot 1.0"], "isPublic": True}}),
    (IMAGE, {}),
    (IMAGE, {"model": "fal-ai/flux/dev"}),
    (IMAGE, {"model": "flux-dev", "loras": []}),
    (IMAGE, {"loras": [A_LORA, {"path": "https://example.com/a.safetensors", "scale": "0.8"}]}),
    (IMAGE, {"model": "fal-ai/flux-lora/inpainting", "loras": [A_LORA]}),
    (IMAGE, {"image": {"size": {"width": 512}, "count": 4, "format": "jpeg", "seed": 0}}),
    (TRANSCRIPT, {}),
    (TRANSCRIPT, {"source.url": "s3://recordings"}),
    (TRANSCRIPT, {"source.url": "https://example.com?a=[b]"}),
    (TRANSCRIPT, {"source.url": "https://example.com/[a].mp3"}),
    (TRANSCRIPT, {"options": {"language": "en_us", "formats": ["srt"], "speakerLabels": False}}),
    (TRANSCRIPT, {"options": {"language": "auto"}}),
    (TRANSCRIPT, {"options": {"language": "haw"}}),
    (TRANSCRIPT, {"options": {"language": "pt_br"}}),  # admitted for compatibility; the operator rejects it
    (TRANSCRIPT, {"source.url": "https://[2001:db8::1]:8443/a.mp3"}),
    (TRANSCRIPT, {"source.url": "https://example.com/" + "a" * 2028}),
    (TRANSCRIPT, {"suspend": True}),
    (TRANSCRIPT, {"suspend": False, "deadlineSeconds": 60, "deletionPolicy": "Retain"}),
    (TRANSCRIPT, {"deadlineSeconds": 2592000, "deletionPolicy": "Delete"}),
    (TRANSCRIPT, {"userId": "A" * 63}),
    (TRANSCRIPT, {"operatorClass": "a" * 63}),
    (LORA, {"operatorClass": "default"}),
    (LORA, {"triggerWord": "J" + "_" * 31}),
    (LORA, {"loraName": "a.b-c_d"}),
    (LORA, {"training": {"steps": 10000}}),
    (LORA, {"metadata": {"description": "ä" * 1024}}),
    (LORA, {"metadata": {"tags": ["a" * 63] * 32}}),
    (IMAGE, {"prompt": "猫" * 4096}),
    (IMAGE, {"prompt": "many\nlines\tand $where {{ .Values }}"}),
    (IMAGE, {"prompt": "שלום 👨\u200d👩\u200d👧"}),
    (IMAGE, {"loras": [{"loraRef": {"name": each * 253}} for each in "abcd"], "model": "flux-lora"}),
    (IMAGE, {"loras": [{"path": "https://example.com/" + each * 2000} for each in "abcd"]}),
]


def edited(spec: dict[str, Any], edits: Edits) -> dict[str, Any]:
    """Copy of a spec with fields at dotted paths replaced or removed."""
    result = copy.deepcopy(spec)
    for path, value in edits.items():
        *parents, last = path.split(".")
        at = result
        for parent in parents:
            at = at[parent]
        if value is REMOVED:
            del at[last]
        else:
            at[last] = value
    return result


def manifest(kind: Kind, spec: dict[str, Any], name: str = "crd-test") -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind.value, "metadata": {"name": name}, "spec": spec}


def case_id(value: object) -> str:
    text = value.value if isinstance(value, Kind) else json.dumps(value, default=lambda _: "removed")
    return text[:60]


def stable(version: dict[str, Any]) -> dict[str, Any]:
    """Parts of a CRD's version that we write; the API server adds defaults to others."""
    return {key: version.get(key) for key in ("schema", "additionalPrinterColumns", "selectableFields")}


@pytest.fixture(scope="module")
def api() -> Iterator[client.ApiClient]:
    path = os.environ.get("KUBECONFIG") or str(ROOT / ".cluster" / "kubeconfig")
    if not Path(path).is_file():
        pytest.fail(f"no kubeconfig at {path}; run `make cluster`, or set KUBECONFIG")
    with config.new_client_from_config(path) as connected:
        namespaces = client.CoreV1Api(connected)
        namespaces.create_namespace({"metadata": {"name": NAMESPACE}})
        yield connected
        namespaces.delete_namespace(NAMESPACE)


@pytest.fixture(scope="module")
def objects(api: client.ApiClient) -> Iterator[client.CustomObjectsApi]:
    """An API server that has our CRDs: those of an installed chart, or ours until the tests end."""
    extensions = client.ApiextensionsV1Api(api)
    crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    there = {crd["metadata"]["name"]: crd for crd in raw(api, "GET", CRDS)["items"]}
    made = []
    try:
        for crd in crds:
            name = crd["metadata"]["name"]
            if name not in there:
                raw(api, "POST", CRDS, crd)
                made.append(name)
            elif stable(there[name]["spec"]["versions"][0]) != stable(crd["spec"]["versions"][0]):
                pytest.fail(f"the cluster's CRD {name} is not that of crds/; upgrade the chart's release first")
        wait_until_served(api, [crd["metadata"]["name"] for crd in crds])
        yield client.CustomObjectsApi(api)
    finally:
        for name in made:  # otherwise a later helm install would find CRDs without its ownership labels
            extensions.delete_custom_resource_definition(name)
        if len(made) == len(crds):
            wait_until_gone(api)


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def raw(api: client.ApiClient, method: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
    """Request with plain JSON: the typed client drops unknown fields."""
    parameters = api.param_serialize(
        method,
        path,
        header_params={"Accept": "application/json", "Content-Type": "application/json", **headers},
        body=body,
        auth_settings=["BearerToken"],
    )
    response = api.call_api(*parameters)
    parsed = json.loads(response.read())
    if response.status >= 400:
        raise ApiException(status=response.status, reason=response.reason, body=json.dumps(parsed))
    assert isinstance(parsed, dict)
    return parsed


def wait_until_served(api: client.ApiClient, names: list[str]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        # The API server first returns `conditions: null`.
        found = [raw(api, "GET", f"{CRDS}/{name}")["status"].get("conditions") or [] for name in names]
        if all({"Established": "True"}.items() <= {c["type"]: c["status"] for c in each}.items() for each in found):
            time.sleep(1)  # the endpoint follows the condition
            return
        time.sleep(0.3)
    pytest.fail(f"the API server does not serve {names}")


def wait_until_gone(api: client.ApiClient) -> None:
    """Poll until discovery no longer lists the API group: for seconds after the CRDs it lists what the API server does
    not serve, and Helm's `lookup` fails then.
    """
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if GROUP not in {group["name"] for group in raw(api, "GET", "/apis")["groups"]}:
            return
        time.sleep(0.3)
    pytest.fail(f"discovery still lists {GROUP}")


def dry_run(objects: client.CustomObjectsApi, kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
    answer = objects.create_namespaced_custom_object(
        GROUP, VERSION, NAMESPACE, kind.plural, body, dry_run="All", field_validation="Strict"
    )
    assert isinstance(answer, dict)
    return answer


def refusal(objects: client.CustomObjectsApi, kind: Kind, body: dict[str, Any]) -> str:
    with pytest.raises(ApiException) as caught:
        dry_run(objects, kind, body)
    assert caught.value.status in (400, 422)
    return str(json.loads(caught.value.body)["message"])


def test_the_tables_are_as_large_as_they_should_be() -> None:
    assert len(WRONG) >= 60
    assert len(RIGHT) >= 30


# Phrases for the expected value, in errors of the API server and of our rules.
EXPECTED = (
    "must", "should be", "supported values", "Required value", "unknown field", "may not be more than", "at least",
)  # fmt: skip


def says_what_was_given(edits: Edits, message: str) -> bool:
    """Whether the error names the invalid value, or its type or length if those are invalid.

    A URL with a secret and control characters must not be repeated.
    """
    if SECRET in repr(edits):
        return SECRET not in message and "Forbidden" in message
    by_kind = (
        "Required value", "unknown field", "must be of type", "Too long", "Too many", "set;", "should have",
        "must contain no control", "is there twice",
    )  # fmt: skip
    given = (json.dumps(value, default=str).strip('"') for value in leaves(edits))
    return any(each in message for each in by_kind) or any(each in message for each in given)


def leaves(value: object) -> Iterator[object]:
    """Leaf values of a nested object."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from leaves(each)
    else:
        yield value


@pytest.mark.parametrize(("kind", "edits", "named"), WRONG, ids=case_id)
def test_wrong(objects: client.CustomObjectsApi, kind: Kind, edits: Edits, named: str) -> None:
    spec = edited(SPEC[kind], edits)
    message = refusal(objects, kind, manifest(kind, spec))
    assert named in message
    assert says_what_was_given(edits, message), message
    assert any(word in message for word in EXPECTED), message
    assert "should match" not in message, "a pattern is told in words"
    assert refused_by_us(kind, spec)


def refused_by_us(kind: Kind, spec: dict[str, Any]) -> bool:
    """Whether the operator's own validation rejects the spec too.

    The spec is parsed as strict JSON, like by the API server: "2" is not a number.
    """
    try:
        return first_problem(SPECS[kind].model_validate_json(json.dumps(spec), strict=True)) is not None
    except ValidationError:
        return True


@pytest.mark.parametrize(("kind", "edits"), RIGHT, ids=case_id)
def test_right_with_the_models_defaults(objects: client.CustomObjectsApi, kind: Kind, edits: Edits) -> None:
    spec = edited(SPEC[kind], edits)
    stored = dry_run(objects, kind, manifest(kind, spec))
    model = SPECS[kind].model_validate_json(json.dumps(spec), strict=True)
    assert parse_spec(kind, stored["spec"]) == model
    set_by_the_server = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert without_empty(stored["spec"]) == without_empty(set_by_the_server)


@pytest.mark.parametrize(
    ("kind", "written", "canonical"),
    [
        (TRANSCRIPT, {"options": {"language": "EN"}}, {"options": {"language": "en"}}),
        (TRANSCRIPT, {"options": {"language": "en-US"}}, {"options": {"language": "en_us"}}),
        (TRANSCRIPT, {"options": {"language": "Auto"}}, {"options": {"language": "auto"}}),
        (TRANSCRIPT, {"source.url": "HTTPS://example.com/a.mp3"}, {"source.url": "https://example.com/a.mp3"}),
        (TRANSCRIPT, {"source.url": "S3://recordings/a.mp3"}, {"source.url": "s3://recordings/a.mp3"}),
        (IMAGE, {"loras": [{"path": "HTTPS://h.example/a"}]}, {"loras": [{"path": "https://h.example/a"}]}),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
def test_another_spelling_is_admitted(
    objects: client.CustomObjectsApi, kind: Kind, written: Edits, canonical: Edits
) -> None:
    """The API server stores the written form; the operator parses it to the canonical form."""
    stored = dry_run(objects, kind, manifest(kind, edited(SPEC[kind], written)))["spec"]
    asked = edited(SPEC[kind], written)
    assert all(stored[name] == asked[name] for name in asked.keys() - {"options", "loras"})
    assert parse_spec(kind, stored) == parse_spec(kind, edited(SPEC[kind], canonical))


def without_empty(value: Any) -> Any:
    """Spec without empty lists, which equal absent ones."""
    if isinstance(value, dict):
        return {key: without_empty(item) for key, item in value.items() if item != []}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", sorted((ROOT / "samples").glob("*.yaml")), ids=lambda path: path.stem)
def test_samples(objects: client.CustomObjectsApi, path: Path) -> None:
    body = yaml.safe_load(path.read_text())
    assert dry_run(objects, Kind(body["kind"]), body)["spec"]


def test_a_resource_needs_a_spec(objects: client.CustomObjectsApi) -> None:
    body = manifest(TRANSCRIPT, {})
    del body["spec"]
    assert "spec: Required value" in refusal(objects, TRANSCRIPT, body)


def test_a_long_name_is_refused_before_it_makes_a_jobs_name_too_long(objects: client.CustomObjectsApi) -> None:
    dry_run(objects, TRANSCRIPT, manifest(TRANSCRIPT, SPEC[TRANSCRIPT], "a" * 52))
    message = refusal(objects, TRANSCRIPT, manifest(TRANSCRIPT, SPEC[TRANSCRIPT], "a" * 53))
    assert "metadata.name must have at most 52 characters" in message


@pytest.fixture
def waiting(objects: client.CustomObjectsApi) -> Iterator[str]:
    """ImageGeneration that waits for a missing LoRA, so that an operator starts and pays nothing."""
    name = "crd-test-waits"
    spec = SPEC[IMAGE] | {"loras": [{"loraRef": {"name": "crd-test-does-not-exist"}}]}
    objects.create_namespaced_custom_object(GROUP, VERSION, NAMESPACE, IMAGE.plural, manifest(IMAGE, spec, name))
    yield name
    objects.delete_namespaced_custom_object(GROUP, VERSION, NAMESPACE, IMAGE.plural, name)


def full_status() -> ResourceStatus:
    now = "2026-01-02T03:04:05Z"
    return ResourceStatus.model_validate(
        {
            "observedGeneration": 1,
            "jobId": "0b1c",
            "phase": Phase.PROCESSING,
            "progress": 61,
            "stage": Step.TRAINING,
            "reason": Reason.PROCESSING,
            "message": "Step 10 of 1000",
            "estimatedCompletionTime": now,
            "startTime": now,
            "completionTime": now,
            "cost": Cost(estimated="2.00", actual="1.90", currency="USD", source="2026-01", display="~$2.00"),
            "conditions": [
                ConditionStatus(type=condition, status="False", reason="Processing", last_transition_time=now)
                for condition in Condition
            ],
            "run": RunStatus(
                version=2,
                run_hash="00ff",
                rerun="again",
                generation=1,
                spec=SPEC[LORA] | {"nested": {"anything": [1, None]}},
                started_at=now,
                job=JobRef(name="j", uid="u", stage=Stage.PREPARE, attempt=2, started_at=now),
                facts={"images": 12, "rejected": {"blurred": 3}},
                request_id="r",
                submitted_at=now,
            ),
            "versions": [
                VersionStatus(
                    version=number,
                    run_hash="00fe",
                    rerun="once",
                    job_id="0b1c",
                    completed_at=now,
                    files=tuple(OutputFile(key=f"k{i}", size_bytes=i, sha256="0" * 64) for i in range(64)),
                    facts={"sizeBytes": 9},
                )
                for number in range(1, 51)
            ],
        }
    )


def test_a_new_resource_does_not_count_as_reconciled(objects: client.CustomObjectsApi, waiting: str) -> None:
    """kstatus regards a resource without conditions and observedGeneration as reconciled."""
    found = objects.get_namespaced_custom_object(GROUP, VERSION, NAMESPACE, IMAGE.plural, waiting)
    conditions = {condition["type"]: condition["status"] for condition in found["status"].get("conditions", [])}
    assert found["status"]["observedGeneration"] == -1 or conditions["Ready"] == "False"


def test_the_largest_status_is_stored_whole(
    objects: client.CustomObjectsApi, waiting: str, api: client.ApiClient
) -> None:
    status = dump_status(full_status())
    # Replacement of the whole status, like the operator's: a merge would keep fields of a running operator.
    whole = [{"op": "add", "path": "/status", "value": status}]
    path = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{IMAGE.plural}/{waiting}/status?dryRun=All"
    stored = raw(api, "PATCH", path, whole, **AS_OPERATOR, **{"Content-Type": "application/json-patch+json"})
    assert stored["status"] == status
    assert ResourceStatus.model_validate(stored["status"]) == full_status()


def test_a_wrong_status_is_refused(objects: client.CustomObjectsApi, waiting: str, api: client.ApiClient) -> None:
    path = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{IMAGE.plural}/{waiting}/status?dryRun=All"
    for status, named in (({"phase": "Sleeping"}, "status.phase"), ({"progress": 101}, "status.progress")):
        with pytest.raises(ApiException) as caught:
            raw(
                api,
                "PATCH",
                path,
                {"status": status},
                **AS_OPERATOR,
                **{"Content-Type": "application/merge-patch+json"},
            )
        assert named in str(caught.value.body)


def test_fields_can_be_selected(objects: client.CustomObjectsApi, waiting: str) -> None:
    def names(selector: str) -> list[str]:
        listed = objects.list_namespaced_custom_object(
            GROUP, VERSION, NAMESPACE, IMAGE.plural, field_selector=f"{selector},metadata.name={waiting}"
        )
        return [item["metadata"]["name"] for item in listed["items"]]

    assert names("spec.userId!=nobody") == [waiting]
    assert names("spec.userId=nobody") == []
    assert names("status.phase=Completed") == []


MERGE = {"Content-Type": "application/merge-patch+json"}
NO_RUN: dict[str, Any] = {"phase": "Pending"}


def a_run(phase: str, **more: Any) -> dict[str, Any]:
    return {"phase": phase, "run": {"number": 1, "startedAt": "2026-11-21T00:00:00Z"} | more}


AS_SERVER = {"Impersonate-User": "crd-tests"}
"""Impersonation header of an account with the verb serve on the class crd-tests-a."""


@pytest.fixture
def unserved(objects: client.CustomObjectsApi, api: client.ApiClient) -> Iterator[str]:
    """Resource of a class that no installation serves."""
    name, rbac = "crd-test-unserved", "/apis/rbac.authorization.k8s.io/v1"
    rules = [
        {"apiGroups": [GROUP], "resources": ["operatorclasses"], "resourceNames": ["crd-tests-a"], "verbs": ["serve"]},
        {"apiGroups": [GROUP], "resources": ["imagegenerations/status"], "verbs": ["patch"]},
    ]
    role = {"metadata": {"name": NAMESPACE}, "rules": rules}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAMESPACE}
    bound = {"roleRef": reference, "subjects": [{"kind": "User", "name": "crd-tests"}]}
    raw(api, "POST", f"{rbac}/clusterroles", role)
    raw(api, "POST", f"{rbac}/clusterrolebindings", {"metadata": {"name": NAMESPACE}} | bound)
    body = manifest(IMAGE, SPEC[IMAGE] | {"operatorClass": "crd-tests-a"}, name)
    objects.create_namespaced_custom_object(GROUP, VERSION, NAMESPACE, IMAGE.plural, body)
    yield name
    objects.delete_namespaced_custom_object(GROUP, VERSION, NAMESPACE, IMAGE.plural, name)
    raw(api, "DELETE", f"{rbac}/clusterrolebindings/{NAMESPACE}")
    raw(api, "DELETE", f"{rbac}/clusterroles/{NAMESPACE}")


@pytest.mark.parametrize(
    ("status", "moves"),
    [
        (None, True),
        (NO_RUN, True),
        (a_run("Pending"), False),
        (a_run("Processing"), False),
        (a_run("SubmissionUnknown"), False),
        (a_run("Suspended"), False),
        ({"run": {"number": 1, "startedAt": "2026-11-21T00:00:00Z"}}, False),  # without a phase
        (a_run("Completed"), True),
        (a_run("Failed"), True),
        (a_run("Completed", requestOpen=False), True),
        (a_run("Completed", requestOpen=True), False),
        (a_run("Failed", requestOpen=True), False),
    ],
    ids=str,
)
def test_the_class_does_not_change_during_a_run(
    api: client.ApiClient, unserved: str, status: dict[str, Any] | None, moves: bool
) -> None:
    path = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/{IMAGE.plural}/{unserved}"
    if status is not None:
        raw(api, "PATCH", f"{path}/status", {"status": status}, **AS_SERVER, **MERGE)
    for wanted in ("crd-tests-b", None):  # None: the class default
        edit = {"spec": {"operatorClass": wanted}}
        if moves:
            moved = raw(api, "PATCH", f"{path}?dryRun=All", edit, **MERGE)
            assert moved["spec"].get("operatorClass") == wanted
        else:
            with pytest.raises(ApiException) as caught:
                raw(api, "PATCH", f"{path}?dryRun=All", edit, **MERGE)
            assert "spec.operatorClass must not change during a run" in str(caught.value.body)
    edit = {"spec": {"prompt": "another", "operatorClass": "crd-tests-a"}}
    assert raw(api, "PATCH", f"{path}?dryRun=All", edit, **MERGE)["spec"]["prompt"] == "another"


def test_the_owner_of_a_class_does_not_change(objects: client.CustomObjectsApi, api: client.ApiClient) -> None:
    """CEL makes the owner immutable; the admission policy decides who may create a class."""
    owner = {"namespace": "crd-tests", "serviceAccount": "crd-tests", "release": "crd-tests"}
    name = f"crd-tests-{secrets.token_hex(3)}"
    path = f"/apis/{API_VERSION}/operatorclasses"
    body = {"apiVersion": API_VERSION, "kind": "OperatorClass", "metadata": {"name": name}, "spec": {"owner": owner}}
    for wrong_owner in ({}, owner | {"namespace": "A"}, owner | {"serviceAccount": ""}, {"namespace": "a"}):
        with pytest.raises(ApiException) as caught:
            raw(api, "POST", f"{path}?dryRun=All", body | {"spec": {"owner": wrong_owner}}, **OWNER)
        assert "spec.owner" in str(caught.value.body)
    raw(api, "POST", path, body, **OWNER)
    try:
        for edit in ({"namespace": "another"}, {"serviceAccount": "another"}, {"release": "another"}):
            with pytest.raises(ApiException) as caught:
                raw(api, "PATCH", f"{path}/{name}", {"spec": {"owner": edit}}, **OWNER, **MERGE)
            assert "spec.owner must not change" in str(caught.value.body)
        raw(api, "PATCH", f"{path}/{name}", {"metadata": {"labels": {"a": "b"}}}, **OWNER, **MERGE)
    finally:
        raw(api, "DELETE", f"{path}/{name}")


OWNER = {"Impersonate-User": "system:serviceaccount:crd-tests:crd-tests", "Impersonate-Group": "system:masters"}
"""Impersonation headers of the account that admission policies permit to claim a class for this owner."""
