"""Records that repeat a forged status: the gateway signs, reads and shows no file that is not the job's own."""

import json
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.status import OutputFile, ResourceStatus, VersionStatus
from contentgen_gateway.now import Now, document
from contentgen_operator.purchases import PurchaseState
from contentgen_simulation.bucket import Bucket
from contentgen_simulation.cluster import ClusterWorld

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


def world_of(user: str, job: str | None, **fields: Any) -> tuple[ClusterWorld, Bucket]:
    """Ann's three jobs in red, whose versions name the files of a job (None: of each itself)."""
    world, bucket = ClusterWorld(("ann", "*", "*", "red")), Bucket()
    bucket.behind(world.parts.files)
    world.lists_adopted = False
    for number, kind in enumerate(Kind, 1):
        whose = job or OWN[kind]
        made = version(kind, world.parts.files.address, user, whose)
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


async def ask_for_all(world: ClusterWorld) -> str:
    """What Ann is answered to everything that one can ask about her jobs."""
    said = []
    async with world.client("ann") as ann:
        for kind in Kind:
            await world.parts.indexer.look(OWN[kind])
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
    """The old service's ids are no uids: another user may have had the same."""
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
async def test_an_adopted_run_leads_to_its_files_where_the_ledger_says_so(purchase: str, leads: bool) -> None:
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
        assert document(Now.of(kind, {"metadata": meta, "spec": spec, "status": forged}))["userId"] == user
