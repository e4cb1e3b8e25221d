"""Specs that the CRDs refuse and admit: for the real API server, and for the one of `contentgen try`."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from contentgen_contract.names import API_VERSION, Kind
from contentgen_contract.resources.spec import SPECS
from contentgen_contract.resources.spec_checks import first_problem

REMOVED = object()
SECRET = "hunter2"
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
        "threshold is 27; threshold must only be set with a detector that is not auto",
    ),
    (LORA, {"dataset": {"sceneDetection": {"detector": "content", "threshold": 27}}}, "sceneDetection.threshold"),
    (LORA, {"dataset": {"sceneDetection": {"detector": "hash", "size": 8}}}, "spec.dataset.sceneDetection.size"),
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
    (TRANSCRIPT, {"options": {"subtitles": {"lineLength": 10}}}, "spec.options.subtitles.lineLength"),
    (TRANSCRIPT, {"options": {"subtitles": {"maxSeconds": 1.5}}}, "spec.options.subtitles.maxSeconds"),
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
    (LORA, {"dataset": {"sceneDetection": {"detector": "content", "threshold": "27.5"}}}),
    (LORA, {"dataset": {"sceneDetection": {"detector": "adaptive", "threshold": "4", "minSceneLength": "1"}}}),
    (LORA, {"dataset": {"sceneDetection": {"detector": "threshold"}}}),
    (LORA, {"dataset": {"faces": {"mode": "Require", "minSize": "0", "single": True}}}),
    (LORA, {"dataset": {"faces": {"mode": "Prefer", "minSize": "1.0", "single": False}}}),
    (LORA, {"dataset": {"captions": {"facts": ["Framing", "Brightness", "Motion", "Position"], "engine": "Vision"}}}),
    (LORA, {"training": {"learningRate": "0.0004", "style": "Subject", "model": "fal-ai/flux-lora-portrait-trainer"}}),
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
    (TRANSCRIPT, {"options": {"subtitles": {"lineLength": 32, "gapMilliseconds": 0}}}),
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
    (IMAGE, {"loras": [{"loraRef": {"name": letter * 253}} for letter in "abcd"], "model": "flux-lora"}),
    (IMAGE, {"loras": [{"path": "https://example.com/" + letter * 2000} for letter in "abcd"]}),
]
OTHER_SPELLINGS: list[tuple[Kind, Edits, Edits]] = [
    (TRANSCRIPT, {"options": {"language": "EN"}}, {"options": {"language": "en"}}),
    (TRANSCRIPT, {"options": {"language": "en-US"}}, {"options": {"language": "en_us"}}),
    (TRANSCRIPT, {"options": {"language": "Auto"}}, {"options": {"language": "auto"}}),
    (TRANSCRIPT, {"source.url": "HTTPS://example.com/a.mp3"}, {"source.url": "https://example.com/a.mp3"}),
    (TRANSCRIPT, {"source.url": "S3://recordings/a.mp3"}, {"source.url": "s3://recordings/a.mp3"}),
    (IMAGE, {"loras": [{"path": "HTTPS://h.example/a"}]}, {"loras": [{"path": "https://h.example/a"}]}),
]
"""Kind, edits as written, and the same in their canonical form."""


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
        for element in value.values() if isinstance(value, dict) else value:
            yield from leaves(element)
    else:
        yield value


def refused_by_us(kind: Kind, spec: dict[str, Any]) -> bool:
    """Whether the operator's own validation rejects the spec too.

    The spec is parsed as strict JSON, like by the API server: "2" is not a number.
    """
    try:
        return first_problem(SPECS[kind].model_validate_json(json.dumps(spec), strict=True)) is not None
    except ValidationError:
        return True


def without_empty(value: Any) -> Any:
    """Spec without empty lists, which equal absent ones."""
    if isinstance(value, dict):
        return {key: without_empty(item) for key, item in value.items() if item != []}
    return [without_empty(item) for item in value] if isinstance(value, list) else value
