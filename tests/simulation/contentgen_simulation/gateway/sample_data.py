"""Generated jobs of all kinds and states with their files, for the showcase. Deterministic except for the time."""

import io
import json
import wave
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np

from contentgen_contract.names import API_VERSION, Kind, Stage
from contentgen_contract.records.keys import prefix
from contentgen_contract.records.ledger import PurchaseState
from contentgen_contract.records.record import search_terms, version_totals
from contentgen_contract.resources.prices import CostSource
from contentgen_sandbox.assemblyai import transcript
from contentgen_sandbox.fal import pictures
from contentgen_simulation.gateway import sample_states

Document = dict[str, Any]
HOSTILE = "<script>alert('x')</script>"
LORAS = (
    ("jesse_avatar", "jf", "ann", "marketing", "Jesse, professional headshots", ("avatar", "headshot"), 2),
    (
        "harbour_style",
        "hrbr",
        "mia",
        "marketing",
        "Muted harbour tones for the spring campaign",
        ("style", "spring"),
        1,
    ),
    ("studio_mug", "mug1", "tom", "shop", "The new mug, from all sides", ("product",), 1),
)
PROMPTS = (
    ("Professional headshot of jf in a grey suit, soft window light", "ann", "marketing", 0, 4, (1024, 1024)),
    ("hrbr, fishing boats at dawn, long exposure, quiet water", "mia", "marketing", 1, 3, (1280, 720)),
    ("A mug1 on a wooden table beside an open book, morning", "tom", "shop", 2, 2, (1024, 1024)),
    ("Wide banner of rolling hills in fog, room for a headline", "ann", "marketing", None, 1, (1536, 640)),
    ("jf as a podcast host, microphone, warm studio light", "ann", "press", 0, 2, (832, 1216)),
    ("Isometric illustration of a small recording studio", "mia", "press", None, 4, (1024, 1024)),
    (f"Poster for the open day {HOSTILE}", "tom", "shop", None, 1, (832, 1216)),
)
RECORDINGS: tuple[tuple[str, str, str, int, str], ...] = (("podcast-ep-01.mp3", "ann", "press", 96, "Episode 1: how we started"), ("interview-harbour-master.wav", "mia", "marketing", 64, ""))  # fmt: skip
FAILURES = (
    (Kind.LORA_TRAINING, "night_walk", "tom", "shop", "InsufficientFrames", "the video gave 6 usable pictures of 10 (41 too dark, 12 blurred)", 35, 3),
    (Kind.TRANSCRIPTION, "old-tape-side-b.mp4", "mia", "press", "NoAudio", "the file has one track, silent throughout", 20, 20),
    (Kind.IMAGE_GENERATION, "A castle, oil on canvas, very detailed", "ann", "marketing", "ProviderRefused", "fal answered 422: num_images must be at most 4", 10, 50),
)  # fmt: skip
RUNNING = (
    (Kind.LORA_TRAINING, "autumn_lookbook", "mia", "marketing", "Processing", "Training", 71, None),
    (Kind.TRANSCRIPTION, "town-hall-november.mp4", "ann", "press", "Preparing", "ExtractingAudio", 28, None),
    (Kind.LORA_TRAINING, "founder_portrait", "ann", "marketing", "Preparing", "ExtractingFrames", 31, None),
    (Kind.IMAGE_GENERATION, "hrbr, lighthouse in a storm, wide", "mia", "marketing", "Processing", "Generating", 40, "ProviderUnavailable"),
)  # fmt: skip
QUEUED = (
    (Kind.IMAGE_GENERATION, "mug1 in the snow, product shot", "tom", "shop", "WaitingForLora"),
    (Kind.TRANSCRIPTION, "podcast-ep-02.mp3", "ann", "press", "ProviderNotConfigured"),
)
_RATE = 8000


@dataclass
class SampleData:
    """Records, files by key, resources by namespace, plural and name, documents of other collections, and events.

    Generated pictures are `shrink` times as small as their records say.
    """

    shrink: int = 1
    records: list[Document] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    resources: dict[tuple[str, str, str], Document] = field(default_factory=dict)
    others: dict[str, list[Document]] = field(default_factory=dict)
    events: list[Document] = field(default_factory=list)


def job_id(number: int) -> str:
    """Id of the job with this number."""
    return f"6f1c2d00-0000-4000-8000-{number:012}"


def everything(bucket: str, shrink: int = 1, *, states: bool = False) -> SampleData:
    """All sample data; `bucket` is the bucket's URL. `shrink` reduces the size of pictures.

    With `states` also a job in each state, in the namespace `states`.
    """
    made, now = SampleData(shrink), datetime.now(UTC).replace(microsecond=0)
    for number, (name, trigger, user, where, text, tags, versions) in enumerate(LORAS, 1):
        _lora(made, bucket, number, now - timedelta(days=12 - 3 * number, hours=number), name, trigger, user, where, text, tags, versions)  # fmt: skip
    for number, prompt in enumerate(PROMPTS, 10):
        _pictures(made, bucket, number, now - timedelta(hours=3 + 17 * (number - 10)), *prompt)
    for number, recorded in enumerate(RECORDINGS, 30):
        _recording(made, bucket, number, now - timedelta(hours=8 + 30 * (number - 30)), *recorded)
    for number, (kind, title, user, where, reason, error, progress, hours) in enumerate(FAILURES, 40):
        made.records.append(_record(number, kind, title, user, where, now - timedelta(hours=hours), status="failed", phase="Failed", reason=reason, error=error, progress=progress))  # fmt: skip
    for number, (kind, title, user, where, phase, stage, progress, why) in enumerate(RUNNING, 50):
        record = _record(number, kind, title, user, where, now - timedelta(minutes=4 * (number - 48)), status="processing", phase=phase, stage=stage, progress=progress, reason=why or phase, completedAt=None, estimatedCompletionTime=now + timedelta(minutes=6))  # fmt: skip
        made.records.append(record | {"cost": {"estimated": "2.000000", "currency": "USD", "display": "~$2.00"}})
    for number, (kind, title, user, where, reason) in enumerate(QUEUED, 60):
        made.records.append(_record(number, kind, title, user, where, now - timedelta(minutes=1), status="queued", phase="Pending", progress=0, reason=reason, startedAt=None, completedAt=None))  # fmt: skip
    made.records.append(_record(70, Kind.TRANSCRIPTION, "wrong-file.mp4", "tom", "shop", now - timedelta(days=2), status="cancelled", phase="Failed", reason="Cancelled", progress=20))  # fmt: skip
    for record in made.records:
        record.update(version_totals(record["versions"]) | {"terms": search_terms(record)})
        _resource(made, record)
    paid = [record for record in made.records if record["status"] == "completed"]
    made.others["ledger"] = [
        {
            "jobId": each_record["jobId"],
            "namespace": each_record["namespace"],
            "userId": each_record["userId"],
            "type": each_record["type"],
            "model": each_record["config"]["model"],
            "config": each_record["config"],
            "state": PurchaseState.COLLECTED.value,
            "costSource": CostSource.BILLING_EVENTS.value,
            "createdAt": each_record["createdAt"],
            "actualMicros": int(float(each_record["cost"]["actual"]) * 1e6),
            "estimatedMicros": 0,
        }
        for each_record in paid
    ]
    made.others["collections"] = [
        {
            "_id": job_id(900),
            "collectionId": job_id(900),
            "namespace": "marketing",
            "userId": "ann",
            "name": "Spring campaign",
            "description": "Everything for the harbour pictures",
            "createdBy": "ann",
            "createdAt": now - timedelta(days=3),
            "updatedAt": now - timedelta(hours=5),
            "assets": [
                {"jobId": each_record["jobId"], "type": each_record["type"]}
                for each_record in paid
                if each_record["namespace"] == "marketing"
            ],
        }
    ]
    if states:
        _states(made, now)
    return made


def _states(made: SampleData, now: datetime) -> None:
    jobs = {each_record["type"]: each_record for each_record in made.records if each_record["status"] == "completed"}
    for number, state in enumerate(sample_states.sample_states()):
        created = now - timedelta(minutes=10 + number)
        record = sample_states.record_of(number, state, jobs[state.kind.record_type], created)
        record |= {"metadata": {"tags": [], "description": "", "isPublic": False}}
        made.records.append(record | version_totals(record["versions"]) | {"terms": search_terms(record)})
        told = f"{created:%Y-%m-%dT%H:%M:%SZ}"
        at = sample_states.NAMESPACE, state.kind.plural, record["name"]
        made.resources[at] = sample_states.resource_of(number, state, record, told)
    failed = sample_states.state_job_id(sample_states.index_of("end-failed-paid"))
    made.others |= sample_states.beside(failed, now)
    made.events = sample_states.events_of(failed, now)


def _record(number: int, kind: Kind, title: str, user: str, where: str, created: datetime, **fields: Any) -> Document:
    config: Document = {
        Kind.LORA_TRAINING: {"loraName": title, "trigger": "xyz", "model": "fal-ai/flux-lora-fast-training", "steps": 1000, "learning_rate": 0.0004},
        Kind.IMAGE_GENERATION: {"model": "flux-lora", "prompt": title, "loras": [], "count": 1},
        Kind.TRANSCRIPTION: {"model": "universal", "speakerLabels": True, "language": "auto", "formats": ["json", "txt", "srt", "vtt"]},
    }[kind]  # fmt: skip
    source = {} if kind is Kind.IMAGE_GENERATION else {"sourceVideo": {"url": f"https://media.example.com/{title}", "filename": title if "." in title else f"{title}.mp4", "sizeBytes": 148_200_000}}  # fmt: skip
    return {
        "jobId": job_id(number), "userId": user, "type": kind.record_type, "namespace": where,
        "name": f"{kind.short_name}-{number}", "config": config,
        "metadata": {"tags": [], "description": "", "isPublic": False}, "versions": [],
        "status": "completed", "phase": "Completed", "stage": "Done", "progress": 100, "reason": "Completed", "error": None,
        "message": None, "cost": {"estimated": "0.000000", "actual": "0.000000", "currency": "USD", "display": "$0.00"},
        "estimatedCompletionTime": None,
        "createdAt": created, "startedAt": created + timedelta(seconds=4), "completedAt": created + timedelta(seconds=4 + 37 * (number % 9 + 1)),
    } | source | fields  # fmt: skip


def _cost(amount: str) -> Document:
    return {
        "estimated": amount,
        "actual": amount,
        "currency": "USD",
        "source": "prices-2026",
        "display": f"${float(amount):.2f}",
    }


def _put(made: SampleData, bucket: str, folder: str, name: str, content: bytes) -> str:
    made.objects[folder + name] = content
    return f"{bucket}/{folder}{name}"


@cache
def _picture(prompt: str, width: int, height: int, seed: int, form: str = "JPEG") -> bytes:
    """Cached picture with low compression, because large ones take most of the time."""
    target = io.BytesIO()
    pictures.draw(pictures.DrawnScene(prompt, width, height, seed, "flux-lora")).save(target, form, compress_level=1)
    return target.getvalue()


def _lora(made: SampleData, bucket: str, number: int, created: datetime, name: str, trigger: str, user: str, where: str, text: str, tags: tuple[str, ...], versions: int) -> None:  # fmt: skip
    record = _record(number, Kind.LORA_TRAINING, name, user, where, created, cost=_cost("2.000000"))
    record["config"]["trigger"] = trigger
    record["metadata"] = {"tags": list(tags), "description": text, "isPublic": number == 1}
    for version in range(1, versions + 1):
        folder = prefix(Kind.LORA_TRAINING, Stage.COLLECT, user, job_id(number), version)
        model = _put(made, bucket, folder, "model.safetensors", b"made up")
        preview = _put(
            made,
            bucket,
            folder,
            "preview.png",
            _picture(f"{trigger}, preview", 512, 512, 100 * number + version, form="PNG"),
        )
        _put(made, bucket, folder, "config.json", b"{}")
        record["versions"].append({
            "version": version, "createdAt": created + timedelta(days=version - 1), "modelUrl": model,
            "s3Key": f"{folder}model.safetensors", "sizeBytes": 124_800_000, "previewUrl": preview, "bytes": 131_000_000,
            "config": {"trigger": trigger, "steps": 1000, "learning_rate": 0.0004, "frame_count": 24},
            "files": [{"name": "model.safetensors", "sizeBytes": 124_800_000}, {"name": "config.json", "sizeBytes": 2}],
            "loras": [], "cost": _cost("2.000000"),
        })  # fmt: skip
        _dataset(
            made, bucket, prefix(Kind.LORA_TRAINING, Stage.PREPARE, user, job_id(number), version), trigger, number
        )
    made.records.append(record)


def _dataset(made: SampleData, bucket: str, folder: str, trigger: str, number: int) -> None:
    kept = []
    for each_number in range(1, 9):
        _put(
            made,
            bucket,
            folder,
            f"images/{each_number:04}.jpg",
            _picture(f"frame {each_number}", 320, 320, 1000 * number + each_number),
        )
        kept.append({"file": f"images/{each_number:04}.jpg", "caption": f"a photo of {trigger}", "width": 320, "height": 320, "seconds": 4.2 * each_number, "shot": each_number, "luma": 120.0, "sharpness": 210.5, "faces": [], "hash": "0", "contrast": 40.0, "chroma": [1.0], "motion": 0.1})  # fmt: skip
    why = ("TooDark", "Blurred", "Duplicate")
    rejected = [
        {"reason": why[each_number % 3], "seconds": 3.1 * each_number + 1, "shot": each_number, "figure": 12.0, "limit": 40.0,
         "tile": {"left": each_number % 6 * 256, "top": each_number // 6 * 144, "width": 256, "height": 144}}
        for each_number in range(9)
    ]  # fmt: skip
    shots = [
        {"number": each_number, "start": 4.0 * each_number, "end": 4.0 * each_number + 4} for each_number in range(1, 9)
    ]
    index = {"images": kept, "rejected": rejected, "shots": shots, "rejectedPictures": {"width": 1536, "height": 288}}
    _put(made, bucket, folder, "rejected.jpg", _picture(f"Rejected of {trigger}", 1536, 288, number))
    _put(made, bucket, folder, "dataset.json", json.dumps(index).encode())
    _put(made, bucket, folder, "preview.jpg", _picture(f"Contact sheet of {trigger}", 960, 540, number))


def _pictures(made: SampleData, bucket: str, number: int, created: datetime, prompt: str, user: str, where: str, lora: int | None, count: int, size: tuple[int, int]) -> None:  # fmt: skip
    record = _record(number, Kind.IMAGE_GENERATION, prompt, user, where, created, cost=_cost(f"{0.035 * count:.6f}"))
    record["metadata"] = {"tags": ["campaign"] if number % 2 else [], "description": "", "isPublic": False}
    folder = prefix(Kind.IMAGE_GENERATION, Stage.COLLECT, user, job_id(number), 1)
    images: list[Document] = []
    for each_number in range(1, count + 1):
        width, height = size
        full = _picture(prompt, width // made.shrink, height // made.shrink, 77 * number + each_number, form="PNG")
        small = _picture(prompt, 256, max(256 * height // width, 1), 77 * number + each_number)
        images.append({
            "url": _put(made, bucket, folder, f"image_{each_number}.png", full), "s3Key": f"{folder}image_{each_number}.png",
            "thumbnailUrl": _put(made, bucket, folder, f"image_{each_number}_thumb.jpg", small),
            "width": width, "height": height, "sizeBytes": len(full),
        })  # fmt: skip
    loras = []
    if lora is not None:
        _name, _, owner, *_ = LORAS[lora]
        record["config"]["loras"] = [{"loraRef": {"name": f"lora-{lora + 1}"}, "scale": "0.8"}]
        loras = [f"{prefix(Kind.LORA_TRAINING, Stage.COLLECT, owner, job_id(lora + 1), 1)}model.safetensors"]
    record["config"]["count"] = count
    record["versions"] = [{"version": 1, "createdAt": record["completedAt"], "images": images, "seed": 42 + number, "loras": loras, "bytes": sum(image["sizeBytes"] for image in images), "cost": record["cost"], "files": [{"name": image["s3Key"].rpartition("/")[2], "sizeBytes": image["sizeBytes"]} for image in images]}]  # fmt: skip
    made.records.append(record)


def _recording(made: SampleData, bucket: str, number: int, created: datetime, name: str, user: str, where: str, seconds: int, text: str) -> None:  # fmt: skip
    record = _record(number, Kind.TRANSCRIPTION, name, user, where, created, cost=_cost(f"{0.0045 * seconds:.6f}"))
    record["metadata"] = {"tags": ["podcast"], "description": text, "isPublic": False}
    folder = prefix(Kind.TRANSCRIPTION, Stage.COLLECT, user, job_id(number), 1)
    said = transcript.speak(seconds * 1000, name)
    turns = [transcript.passage(group, speakers=True) for group in transcript.groups(said, "speaker")]
    words = [word.json(speakers=True) for word in said]
    whole = {"status": "completed", "text": " ".join(each_text.text for each_text in said), "words": words, "utterances": turns, "audio_duration": seconds, "language_code": "en"}  # fmt: skip
    written = {
        "transcript.json": json.dumps(whole).encode(),
        "transcript.txt": "\n\n".join(f"Speaker {turn['speaker']}: {turn['text']}" for turn in turns).encode(),
        "transcript.srt": transcript.captions(words, "srt", 42).encode(),
        "transcript.vtt": transcript.captions(words, "vtt", 42).encode(),
    }
    made.objects[f"{folder}audio.flac"] = _sound(said, seconds)
    urls = {key: _put(made, bucket, folder, key, content) for key, content in written.items()}
    record["versions"] = [{
        "version": 1, "createdAt": record["completedAt"], "transcriptUrl": urls["transcript.json"],
        "textUrl": urls["transcript.txt"], "srtUrl": urls["transcript.srt"], "vttUrl": urls["transcript.vtt"],
        "wordCount": len(words), "duration": seconds, "speakers": 2, "language": "en", "audibleDuration": seconds - 6.0,
        "bytes": sum(map(len, written.values())), "loras": [], "cost": record["cost"],
        "files": [{"name": key, "sizeBytes": len(content)} for key, content in written.items()],
    }]  # fmt: skip
    made.records.append(record)


def _sound(said: tuple[transcript.ScriptWord, ...], seconds: int) -> bytes:
    """Audio with one tone per word, higher for one speaker."""
    sound = np.zeros(seconds * _RATE, dtype=np.float32)
    for word in said:
        start, end = word.start * _RATE // 1000, min(word.end * _RATE // 1000, len(sound))
        time = np.arange(end - start) / _RATE
        sound[start:end] = (
            0.2 * np.sin(2 * np.pi * (150 if word.speaker == "A" else 210) * time) * np.hanning(end - start)
        )
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return target.getvalue()


def _resource(made: SampleData, record: Document) -> None:
    kind = next(each for each in Kind if each.record_type == record["type"])
    told = record["createdAt"].isoformat(timespec="seconds").replace("+00:00", "Z")
    done, failed = record["status"] == "completed", record["status"] == "failed"
    conditions = [
        {"type": "Ready", "status": str(done), "reason": record["reason"], "message": record["error"] or "", "lastTransitionTime": told},
        {"type": "Reconciling", "status": str(not done and not failed), "reason": record["reason"], "message": "", "lastTransitionTime": told},
        {"type": "Stalled", "status": str(failed), "reason": record["reason"], "message": record["error"] or "", "lastTransitionTime": told},
    ]  # fmt: skip
    made.resources[record["namespace"], kind.plural, record["name"]] = {
        "apiVersion": API_VERSION, "kind": kind.value,
        "metadata": {"name": record["name"], "namespace": record["namespace"], "uid": record["jobId"], "generation": 1, "resourceVersion": "1", "creationTimestamp": told},
        "spec": {},
        "status": {"phase": record["phase"], "progress": record["progress"], "stage": record["stage"], "reason": record["reason"], "message": record["error"] or "", "conditions": conditions, "cost": {"display": record["cost"]["display"]}},
    }  # fmt: skip
