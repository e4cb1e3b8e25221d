"""Invariants of a finished job, whatever happened before. Each check names what it found.

Only `OracleViolation` reports a failed check, so that a test of the oracle can distinguish a detected mutant from a
broken test.
"""

import io
import json
import struct
import zipfile
from pathlib import PurePosixPath
from typing import Any

import webvtt
from PIL import Image

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records.keys import prefix
from contentgen_e2e.world import BUCKET, ClusterWorld

Body = dict[str, Any]


class OracleViolation(AssertionError):
    """An invariant is violated."""


def check(holds: bool, what: str) -> None:
    """Raise OracleViolation unless the condition holds."""
    if not holds:
        raise OracleViolation(what)


def check_completed(world: ClusterWorld, kind: Kind, name: str) -> Body:
    """Check everything about one Completed resource; returns the resource."""
    body = world.get(kind, name)
    status: Body = body.get("status") or {}
    check_status(status)
    check_paid_once(world, body)
    check_stored(world, kind, body)
    check_record(world, kind, body)
    return body


def check_status(status: Body) -> None:
    """Check that the status is Completed for every tool."""
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    check(status.get("phase") == "Completed", f"phase is {status.get('phase')}: {status.get('message')}")
    check(status["progress"] == 100, f"progress is {status['progress']}")
    wanted = {"Ready": "True", "Complete": "True", "Reconciling": "False", "Stalled": "False", "Failed": "False"}
    check(wanted.items() <= conditions.items(), f"conditions are {conditions}")
    check(status["cost"]["actual"] != "", "no actual cost")
    check(len(status["versions"]) == 1, f"{len(status['versions'])} versions")


def check_paid_once(world: ClusterWorld, body: Body) -> None:
    """Check that there is exactly one paid request, the one in the status."""
    request = body["status"]["run"]["requestId"]
    uid = body["metadata"]["uid"]
    mine = [purchase for purchase in world.billed() if purchase["request_id"] == request]
    check(len(mine) == 1, f"{len(mine)} ledger lines for request {request}")
    inputs = [purchase for purchase in world.billed() if purchase["marker"] and uid in purchase["marker"]]
    check(len(inputs) <= 1, f"the inputs of {uid} were paid for {len(inputs)} times")
    marker = mine[0]["marker"]
    same = [
        purchase
        for purchase in world.billed()
        if purchase["marker"] == marker and purchase["model"] == mine[0]["model"]
    ]
    check(len(same) == 1, f"{len(same)} ledger lines with the marker {marker}")


def check_stored(world: ClusterWorld, kind: Kind, body: Body) -> None:
    """Check that the files have the keys and formats of the legacy API."""
    objects = world.objects(body["metadata"]["uid"])
    version = body["status"]["versions"][0]
    for file in version["files"]:
        check(objects.get(file["key"]) == file["sizeBytes"], f"{file['key']} is not stored as the status says")
    names = {PurePosixPath(file["key"]).name for file in version["files"]}
    folder = prefix(kind, Stage.COLLECT, _user(body), body["metadata"]["uid"], 1)
    check(all(file["key"].startswith(folder) for file in version["files"]), f"files outside {folder}")
    match kind:
        case Kind.LORA_TRAINING:
            check({"model.safetensors", "config.json", "preview.png"} <= names, f"only {names}")
            _check_lora(world, folder)
            _check_dataset(world, body, objects)
        case Kind.IMAGE_GENERATION:
            _check_pictures(world, body, folder)
        case Kind.TRANSCRIPTION:
            check({f"transcript.{e}" for e in ("json", "txt", "srt", "vtt")} <= names, f"only {names}")
            _check_transcript(world, body, folder)


def _check_lora(world: ClusterWorld, folder: str) -> None:
    model = world.read(folder + "model.safetensors")
    (length,) = struct.unpack("<Q", model[:8])
    header = json.loads(model[8 : 8 + length])
    tensors = {name: each for name, each in header.items() if name != "__metadata__"}
    check(len(tensors) > 0, "the LoRA holds no tensor")
    ends = max(tensor["data_offsets"][1] for tensor in tensors.values())
    check(8 + length + ends == len(model), "the LoRA's tensors do not fill its file")
    config = json.loads(world.read(folder + "config.json"))
    check(config["trigger"] if "trigger" in config else config["triggerWord"], "config.json names no trigger")
    Image.open(io.BytesIO(world.read(folder + "preview.png"))).verify()


def _check_dataset(world: ClusterWorld, body: Body, objects: dict[str, int]) -> None:
    folder = prefix(Kind.LORA_TRAINING, Stage.PREPARE, _user(body), body["metadata"]["uid"], 1)
    pictures = sorted(key for key in objects if key.startswith(folder + "images/"))
    captions = sorted(key for key in objects if key.startswith(folder + "captions/"))
    spec = body["spec"]
    check(len(pictures) >= spec["dataset"]["minImages"], f"{len(pictures)} pictures")
    check(len(pictures) == len(captions), f"{len(pictures)} pictures, {len(captions)} captions")
    for key in captions:
        check(spec["triggerWord"] in world.read(key).decode(), f"{key} lacks the trigger word")
    largest = max(max(Image.open(io.BytesIO(world.read(key))).size) for key in pictures)
    check(largest <= spec["dataset"]["resolution"], f"a picture has {largest} pixels")
    with zipfile.ZipFile(io.BytesIO(world.read(folder + "dataset.zip"))) as archive:
        check(len(archive.namelist()) == 2 * len(pictures), f"the zip holds {len(archive.namelist())} files")
    check({folder + "dataset.json", folder + "preview.jpg"} <= objects.keys(), "dataset.json or preview.jpg is missing")


def _check_pictures(world: ClusterWorld, body: Body, folder: str) -> None:
    wanted = body["spec"]["image"]
    for number in range(1, wanted["count"] + 1):
        suffix = "png" if wanted["format"] == "png" else "jpg"
        picture = Image.open(io.BytesIO(world.read(f"{folder}image_{number}.{suffix}")))
        size = (wanted["size"]["width"], wanted["size"]["height"])
        check(picture.size == size, f"picture {number} has {picture.size}, asked for {size}")
        check(picture.format == wanted["format"].upper(), f"picture {number} is {picture.format}")
        thumbnail = Image.open(io.BytesIO(world.read(f"{folder}image_{number}_thumb.{suffix}")))
        is_small = min(thumbnail.size) == 256 or max(thumbnail.size) == 768
        check(is_small, f"thumbnail {number} has {thumbnail.size}")


def _check_transcript(world: ClusterWorld, body: Body, folder: str) -> None:
    facts = body["status"]["versions"][0]["facts"]
    document = json.loads(world.read(folder + "transcript.json"))
    words = document["words"]
    check(facts["wordCount"] == len(words) > 0, f"wordCount {facts['wordCount']}, {len(words)} words")
    recorded = body["status"]["run"]["facts"]["durationSeconds"]
    check(abs(words[-1]["end"] / 1000 - recorded) < 5, f"words end at {words[-1]['end']} ms of {recorded} s")
    text = world.read(folder + "transcript.txt").decode()  # with the speakers' names between the words
    check(set(document["text"].split()) <= set(text.split()), "transcript.txt lacks words of the transcript")
    check(b"-->" in world.read(folder + "transcript.srt"), "transcript.srt has no cue")
    cues = webvtt.from_buffer(io.StringIO(world.read(folder + "transcript.vtt").decode()))
    check(len(cues) > 0, "transcript.vtt has no cue")


def check_record(world: ClusterWorld, kind: Kind, body: Body) -> None:
    """Check that the record has the fields of the legacy API and matches the status."""
    uid = body["metadata"]["uid"]
    found = list(world.jobs.find({"jobId": uid}))
    check(len(found) == 1, f"{len(found)} records of {uid}")
    record = found[0]
    check(record["status"] == "completed", f"the record says {record['status']}")
    check((record["type"], record["progress"]) == (kind.record_type, 100), f"{record['type']}, {record['progress']}")
    check(record["userId"] == _user(body), f"the record's user is {record['userId']}")
    check({"createdAt", "startedAt", "completedAt"} <= record.keys(), "a time is missing")
    version = record["versions"][0]
    match kind:
        case Kind.LORA_TRAINING:
            check(version["s3Key"] in world.objects(uid), f"{version['s3Key']} is not stored")
            check(version["modelUrl"].endswith(f"{BUCKET}/{version['s3Key']}"), version["modelUrl"])
            check({"trigger", "steps", "learning_rate", "frame_count"} <= version["config"].keys(), "config")
        case Kind.IMAGE_GENERATION:
            image = version["images"][0]
            check({"url", "s3Key", "width", "height", "sizeBytes"} <= image.keys(), f"image: {image.keys()}")
        case Kind.TRANSCRIPTION:
            check({"transcriptUrl", "textUrl", "wordCount", "duration"} <= version.keys(), f"{version.keys()}")
            check(version["wordCount"] > 0, "wordCount")
    check("X-Amz" not in str(record), "a signed URL is in the record")


def _user(body: Body) -> str:
    return str(body["spec"].get("userId") or body["metadata"]["namespace"])
