"""Records of a forged status: the gateway signs, reads and lists only the job's own files."""

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import contentgen_gateway
from contentgen_contract.names import Kind
from contentgen_contract.resources.status import OutputFile, ResourceStatus, VersionStatus
from contentgen_gateway.live.job_snapshot import JobSnapshot, document
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.verification import OwnedKey, owned_key, owner_of
from contentgen_operator.state.purchases import PurchaseState
from contentgen_simulation.gateway.bucket import RecordingBucket
from contentgen_simulation.gateway.cluster import WritableWorld

VICTIM = "7d0f1c5e-0000-4a1c-9f3e-2f3c7c1b9a99"
OWN = {kind: f"00000000-0000-4000-8000-{number:012}" for number, kind in enumerate(Kind, 1)}
FOLDERS = {
    Kind.LORA_TRAINING: "loras/{user}/{job}/v1/",
    Kind.IMAGE_GENERATION: "generated-images/{user}/{job}/",
    Kind.TRANSCRIPTION: "transcripts/{user}/{job}/",
}
NAMES = {
    Kind.LORA_TRAINING: ["model.safetensors", "preview.png"],
    Kind.IMAGE_GENERATION: ["image_1.png", "image_1_thumb.png"],
    Kind.TRANSCRIPTION: ["transcript.json", "transcript.txt", "audio.flac"],
}
SAID = json.dumps({"text": "the board's secret", "words": [], "utterances": []}).encode()


def version(kind: Kind, address: Any, user: str, job: str) -> dict[str, Any]:
    folder = FOLDERS[kind].format(user=user, job=job)
    common = {"version": 1, "bytes": 7}
    if kind is Kind.LORA_TRAINING:
        model, preview = (folder + name for name in NAMES[kind])
        return common | {"modelUrl": address(model), "s3Key": model, "previewUrl": address(preview)}
    if kind is Kind.IMAGE_GENERATION:
        picture, thumb = (folder + name for name in NAMES[kind])
        image = {"url": address(picture), "s3Key": picture, "thumbnailUrl": address(thumb), "width": 8, "height": 8}
        return common | {"images": [image]}
    told, text, _ = (folder + name for name in NAMES[kind])
    return common | {"transcriptUrl": address(told), "textUrl": address(text), "srtUrl": None, "vttUrl": None}


def world_of(user: str, job: str | None, **fields: Any) -> tuple[WritableWorld, RecordingBucket]:
    """Ann's three jobs in red, with versions that refer to files of `whose` (None: their own)."""
    world, bucket = WritableWorld(("ann", "*", "*", "red")), RecordingBucket()
    bucket.behind(world.dependencies.files)
    world.lists_adopted = False
    for number, kind in enumerate(Kind, 1):
        whose = job or OWN[kind]
        made = version(kind, world.dependencies.files.address, user, whose)
        assert world.job(number, kind, **({"versions": [made], "name": "it"} | fields)) == OWN[kind]
        for folder in (FOLDERS[kind], "datasets/{user}/{job}/"):
            for name in (*NAMES[kind], "preview.jpg", "dataset.json"):
                bucket.objects[folder.format(user=user, job=whose) + name] = SAID
    return world, bucket


PATHS = ["/api/jobs", "/api/assets/loras", "/api/assets/images", "/api/assets/transcripts", "/api/lora/list"]
PATHS += ["/api/assets/search", "/", "/loras", "/images", "/transcripts", "/jobs", "/search?q=board"]
OF_A_JOB = ["/api/jobs/{}", "/api/jobs/{}/dataset", "/api/lora/{}", "/api/assets/{}/download", "/api/assets/{}/stats"]
OF_A_JOB += ["/jobs/{}", "/loras/{}", "/images/{}", "/transcripts/{}", "/api/search/transcripts?q=board"]
FILES = [
    "preview.png",
    "preview.jpg",
    "dataset.json",
    "image_1.png",
    "image_1_thumb.png",
    "transcript.json",
    "audio.flac",
]


async def ask_for_all(world: WritableWorld) -> str:
    """Responses to all requests about Ann's jobs."""
    said = []
    async with world.client("ann") as ann:
        for kind in Kind:
            await world.dependencies.indexer.update(OWN[kind])
            paths = [*PATHS, *(path.format(OWN[kind]) for path in OF_A_JOB)]
            paths += [f"/api/assets/{OWN[kind]}/download?file={name}" for name in FILES]
            for path in paths:
                answer = await ann.get(path)
                assert answer.status_code < 500, (path, answer.text)
                said.append(answer.text)
    return "\n".join(said)


@pytest.mark.parametrize("fields", [{}, {"imported": True}, {"name": None}])
async def test_a_record_leads_to_no_file_of_another_job(fields: dict[str, Any]) -> None:
    world, bucket = world_of("victim", VICTIM, **fields)
    said = await ask_for_all(world)
    assert [key for key in bucket.reached if VICTIM in key] == []
    assert VICTIM not in said
    assert "secret" not in said


async def test_an_imported_jobs_id_is_its_own_only_with_its_user() -> None:
    """Ids of the legacy service are not uids: two users may have the same."""
    world, bucket = world_of("victim", None, imported=True)
    await ask_for_all(world)
    assert [key for key in bucket.reached if "victim" in key] == []


async def test_the_control_own_files_are_signed_and_read() -> None:
    world, bucket = world_of("ann", None)
    said = await ask_for_all(world)
    assert {OWN[kind] for kind in Kind} == {key.split("/")[2] for key in bucket.reached if key.count("/") > 2}
    assert said.count("X-Amz-Signature") > 10


@pytest.mark.parametrize(
    ("purchase", "leads"),
    [("red/{}/it/hash/-/1", True), ("red/{}/it-2/hash/-/1", False), ("blue/{}/it/hash/-/1", False)],
)
async def test_adopted_run_leads_to_its_files_by_the_ledger(purchase: str, leads: bool) -> None:
    world, bucket = world_of("ann", VICTIM)
    for kind in Kind:
        document = {"_id": purchase.format(kind), "jobId": VICTIM, "state": PurchaseState.COLLECTED.value}
        world.database["ledger"].insert_one(document)
    said = await ask_for_all(world)
    assert any(VICTIM in key for key in bucket.reached) is leads
    assert (VICTIM in said) is leads


@pytest.mark.parametrize("kind", Kind)
def test_a_job_under_way_is_of_the_user_that_was_admitted(kind: Kind) -> None:
    status = ResourceStatus(versions=(VersionStatus(version=1, files=(OutputFile(key="a"),)),))
    meta = {
        "uid": VICTIM, "name": "it", "namespace": "red", "resourceVersion": "1",
        "creationTimestamp": "2026-11-21T00:00:00Z",
    }  # fmt: skip
    forged = status.model_dump(mode="json", by_alias=True) | {"run": {"spec": {"userId": "victim"}}}
    for spec, user in (({"userId": "ann"}, "ann"), ({}, "red")):
        assert document(JobSnapshot.parse(kind, {"metadata": meta, "spec": spec, "status": forged}))["userId"] == user


# All signers, readers and deleters

TAKES_OWNED_KEYS = {"url", "presigned", "display_url", "read", "size"}
"""Methods of `BucketFiles` that sign or read a key: mypy refuses every key that `owned_key` did not make."""
OTHERS = {
    "resolve_address": "an address of a record, which Records has verified",
    "sizes": "prefixes of an imported document: Import makes them of its own jobId and userId",
    "sizes_now": "the same",
    "key_of": "reaches nothing",
    "address": "reaches nothing, signs nothing",
    "origin": "no key",
}
S3_CALLS = {
    "get_object", "head", "head_object", "put_object", "delete_object", "delete_objects", "copy", "copy_object",
    "generate_presigned_url", "upload_file", "upload_fileobj", "download_file", "download_fileobj", "get_paginator",
    "list_objects_v2", "list_object_versions", "create_multipart_upload",
}  # fmt: skip
REACH = {
    ("stores/files.py", "get_object"), ("stores/files.py", "head"), ("stores/files.py", "get_paginator"),
    # of `contentgen backup` and `contentgen import`, which run with the administrator's rights and sign nothing
    ("migration/asset_listing.py", "head_object"), ("migration/asset_listing.py", "get_paginator"),
    ("migration/asset_listing.py", "copy"),
}  # fmt: skip
GATEWAY = Path(contentgen_gateway.__file__).parent


def test_each_method_of_files_takes_owned_keys_or_says_why_not() -> None:
    public = {name for name in vars(BucketFiles) if not name.startswith("_")}
    assert public == TAKES_OWNED_KEYS | OTHERS.keys()
    for name in TAKES_OWNED_KEYS:
        assert get_type_hints(getattr(BucketFiles, name))["key"] is OwnedKey, name


@cache
def nodes() -> tuple[tuple[str, ast.Attribute | ast.Call], ...]:
    """Attributes and calls of the gateway's modules."""
    return tuple(
        (str(path.relative_to(GATEWAY)), node)
        for path in sorted(GATEWAY.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Call)
    )


def test_owned_keys_are_made_in_one_function() -> None:
    made = [
        (path, ast.unparse(node)) for path, node in nodes() if isinstance(node, ast.Call) and named(node) == "OwnedKey"
    ]
    assert made == [("stores/files.py", "OwnedKey(key)"), ("stores/verification.py", "OwnedKey(key)")]
    casts = [
        path
        for path, node in nodes()
        if isinstance(node, ast.Call) and named(node) == "cast" and "Owned" in ast.unparse(node)
    ]
    assert casts == []


def named(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def test_the_bucket_is_reached_in_no_other_place() -> None:
    found = {(path, node.attr) for path, node in nodes() if isinstance(node, ast.Attribute) and node.attr in S3_CALLS}
    assert {each for each in found if each[1] != "copy" or each[0] == "migration/asset_listing.py"} == REACH
    assert not {path for path, node in nodes() if isinstance(node, ast.Attribute) and node.attr == "_client"} - {
        "stores/files.py"
    }


def test_addresses_are_shown_of_verified_records_alone() -> None:
    """Modules that read the collection without `Records` get unverified records, and must not return them."""
    raw = {path for path, node in nodes() if isinstance(node, ast.Attribute) and node.attr == "collection"}
    assert raw <= {"migration/commands.py", "services/legacy_imports.py", "stores/records.py"}


@pytest.mark.parametrize("kind", Kind)
def test_a_key_is_owned_by_its_job_and_by_no_other(kind: Kind) -> None:
    world, _ = world_of("ann", None)
    key_of = world.dependencies.files.key_of
    record = world.database["jobs"].find_one({"jobId": OWN[kind]}, {"_id": False})
    owner = owner_of(record, key_of)
    mine = FOLDERS[kind].format(user="ann", job=OWN[kind]) + NAMES[kind][0]
    assert owned_key(owner, mine) == mine
    for foreign in (
        mine.replace(OWN[kind], VICTIM),
        mine.replace("/ann/", "/bob/") if record.get("imported") else mine.replace(OWN[kind], f"{OWN[kind]}-2"),
        mine.replace(OWN[kind], f"{OWN[kind]}/../{VICTIM}"),
        f"runs/{VICTIM}/1/outcome.json",
        "",
        "/",
    ):
        assert owned_key(owner, foreign) is None, foreign
    before = owner_of(record | {"versions": []}, key_of)
    assert owned_key(before, mine) == mine, "what a run under way has prepared"
    assert owned_key(owner_of(record | {"type": "video"}, key_of), mine) is None


async def test_a_file_that_is_not_the_jobs_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Last check before the bucket, independent of the origin of the key."""
    world, bucket = world_of("ann", None)
    monkeypatch.setattr("contentgen_gateway.services.downloads.outputs.folder_of", lambda *_: f"loras/ann/{VICTIM}/v1/")
    async with world.client("ann") as ann:
        answer = await ann.get(f"/api/assets/{OWN[Kind.LORA_TRAINING]}/download")
        dataset = await ann.get(f"/api/jobs/{OWN[Kind.LORA_TRAINING]}/dataset?version=1")
    assert (answer.status_code, dataset.status_code) == (404, 404)
    assert [key for key in bucket.reached if VICTIM in key] == []


# Annotations


def test_editable_annotations_decide_nothing() -> None:
    """The gateway writes `contentgen.dev/caller` and `contentgen.dev/changed-by`, and nothing reads them."""
    names = {"CALLER_ANNOTATION", "CHANGED_BY_ANNOTATION"}
    root = GATEWAY.parent
    texts = {path: path.read_text() for path in sorted(root.rglob("*.py"))}
    using = {path: text for path, text in texts.items() if any(name in text for name in names)}
    assert len(using) > 1
    for path, text in using.items():
        tree = ast.parse(text)
        uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in names]
        written = [
            key
            for node in ast.walk(tree)
            if isinstance(node, ast.Dict)
            for key in node.keys
            if isinstance(key, ast.Name)
        ]
        if path.name != "names.py":
            assert [node for node in uses if node not in written] == [], path
    for path, text in texts.items():
        assert path.name == "names.py" or not re.search(r"contentgen\.dev/(caller|changed-by)", text), path
