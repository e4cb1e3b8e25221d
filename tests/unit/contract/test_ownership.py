"""Owners of S3 objects, and the ownership check in each method of the operator that signs, reads or deletes."""

import ast
import inspect
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

import contentgen_operator
from contentgen_contract.names import Kind
from contentgen_contract.records import ownership
from contentgen_contract.records.ownership import NotOwned, Owner, owns, require_owned
from contentgen_contract.worker.orders import FileOffer
from contentgen_operator.providers.answers import AnswerFile
from contentgen_operator.state.plan import StoredAnswer
from contentgen_operator.stores import object_versions
from contentgen_operator.stores import s3 as module
from contentgen_operator.stores.s3 import Storage

UID = "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a01"
OTHER = "7d0f1c5e-0000-4a1c-9f3e-2f3c7c1b9a99"
MINE = ownership.job_owner(Kind.TRANSCRIPTION, UID, ("ann",))
HOUR = timedelta(hours=1)
OFFER = FileOffer(name="transcript.txt", size_bytes=7, sha256="00" * 32, content_type="text/plain")


@pytest.mark.parametrize(
    "key",
    [
        f"transcripts/ann/{UID}/transcript.txt",
        f"transcripts/ann/{UID}/v2/transcript.txt",
        f"transcripts/ann/{UID}/",
        f"runs/{UID}/1/prepare-1.json",
    ],
)
def test_a_jobs_own_files_are_owned(key: str) -> None:
    assert require_owned(MINE, key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "transcripts/",
        "transcripts/ann/",
        f"transcripts/ann/{UID}",  # would be a prefix of another job's name
        f"transcripts/ann/{UID}-2/transcript.txt",
        f"transcripts/bob/{UID}/transcript.txt",
        f"transcripts/ann/{OTHER}/transcript.txt",
        f"loras/ann/{UID}/v1/model.safetensors",
        f"runs/{OTHER}/1/provider-1.json",
        f"/transcripts/ann/{UID}/transcript.txt",
        f"transcripts/ann/{UID}/../{OTHER}/transcript.txt",
        f"transcripts/ann/{UID}/./transcript.txt",
        f"transcripts/ann/{UID}//transcript.txt",
        f"transcripts/ann/{UID}/%2e%2e/x",
        f"transcripts/ann/{UID}/x\n",
        f"transcripts/ann/{UID}/x?versionId=1",
        f"transcripts\\ann\\{UID}\\x",
    ],
)
def test_every_other_key_is_refused(key: str) -> None:
    assert not owns(MINE, key)
    with pytest.raises(NotOwned):
        require_owned(MINE, key)


def test_a_listed_key_is_owned_and_its_neighbours_are_not() -> None:
    owner = Owner(keys=frozenset({f"loras/bob/{OTHER}/v1/model.safetensors"}))
    assert owns(owner, f"loras/bob/{OTHER}/v1/model.safetensors")
    assert not owns(owner, f"loras/bob/{OTHER}/v1/model.safetensors2")
    assert not owns(owner, f"loras/bob/{OTHER}/v1/")


def test_tombstone_names_only_whole_folders_of_its_jobs() -> None:
    good = {f"transcripts/ann/{UID}/", f"runs/{UID}/", f"datasets/a..b/{UID}/"}
    bad = {"", "/", "runs/", "transcripts/", f"transcripts/ann/{OTHER}/", f"runs/{OTHER}/", f"transcripts/ann/{UID}"}
    assert ownership.jobs_owner([UID], good | bad).folders == good


# The operator's bucket

REACHES: dict[str, Callable[[Storage, str], Any]] = {
    "worker_get": lambda storage, folder: storage.worker_get(MINE, f"{folder}transcript.txt", HOUR),
    "worker_put": lambda storage, folder: storage.worker_put(MINE, f"{folder}transcript.txt", HOUR),
    "provider_get": lambda storage, folder: storage.provider_get(MINE, f"{folder}transcript.txt"),
    "grant": lambda storage, folder: storage.grant(MINE, folder, OFFER, HOUR),
    "outcome": lambda storage, folder: storage.outcome(MINE, f"{folder}outcome.json"),
    "stored": lambda storage, folder: storage.stored(MINE, folder, ["transcript.txt"]),
    "exists": lambda storage, folder: storage.exists(MINE, f"{folder}outcome.json"),
    "leftovers": lambda storage, folder: storage.leftovers(MINE, folder, [OFFER]),
    "remove": lambda storage, folder: storage.remove(MINE, [(f"{folder}a.json", "1")]),
    "remove_temporary": lambda storage, folder: storage.remove_temporary([(f"{folder}a.json", "1")]),
    "delete_prefix": lambda storage, folder: storage.delete_prefix(MINE, folder),
    "put_answer": lambda storage, folder: storage.put_answer(
        StoredAnswer(owner=MINE, key=f"{folder}a.json", answer=AnswerFile.of({}))
    ),
    "put_mark": lambda storage, folder: storage.put_mark(f"{folder}a.json"),
    "put_evidence": lambda storage, folder: storage.put_evidence(f"{folder}a.json", b"{}"),
    "evidence": lambda storage, folder: storage.evidence(f"{folder}a.json"),
    "evidence_keys": lambda storage, folder: storage.evidence_keys(folder, folder),
}
"""Public methods of Storage with a key of the bucket; `test_all_of_them_are_here` checks completeness."""

OF_NO_OWNER = {"remove_temporary", "put_mark", "put_evidence", "evidence", "evidence_keys"}
"""Their keys have a prefix of the operator."""

WITHOUT_A_KEY = {
    "ensure_bucket", "require_bucket", "plain_url", "put_marker", "marker",
    "source_get", "old_versions", "set_temporary_rules", "require_session",
}  # fmt: skip
"""`plain_url` signs nothing; markers hash their keys; `source_get` is of other buckets (test_sources.py);
`old_versions` reads names only.
"""


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_ACCESS_KEY_ID", "id")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        made = Storage(bucket="assets", region="us-east-1", endpoint=None, public_endpoint=None)
        made.ensure_bucket()
        yield made


def test_all_of_them_are_here() -> None:
    public = {name for name, _ in inspect.getmembers(Storage, inspect.isfunction) if not name.startswith("_")}
    assert public == REACHES.keys() | WITHOUT_A_KEY


@pytest.mark.parametrize("method", REACHES)
@pytest.mark.parametrize(
    "folder", [f"transcripts/ann/{OTHER}/", f"transcripts/ann/{UID}/../{OTHER}/", f"runs/{OTHER}/1/", f"/{UID}/"]
)
async def test_no_signer_reader_or_deleter_takes_a_foreign_key(method: str, folder: str, storage: Storage) -> None:
    asked: list[str] = []
    events, note = ("before-call.s3", "before-sign.s3"), lambda **details: asked.append(str(details))
    for event in events:
        storage._client.meta.events.register(event, note)
    with pytest.raises(NotOwned):
        await _result(REACHES[method](storage, folder))
    for event in events:
        storage._client.meta.events.unregister(event, note)
    assert asked == [], "nothing was asked of the store"


@pytest.mark.parametrize("method", sorted(REACHES.keys() - OF_NO_OWNER))
async def test_each_takes_its_owners_keys(method: str, storage: Storage) -> None:
    await _result(REACHES[method](storage, f"transcripts/ann/{UID}/"))


async def _result(found: Any) -> Any:
    return await found if isinstance(found, Awaitable) else found


async def test_a_prefix_without_its_slash_deletes_nothing(storage: Storage) -> None:
    neighbour = f"transcripts/ann/{UID}-of-another/transcript.txt"
    storage._client.put_object(Bucket="assets", Key=neighbour, Body=b"kept")
    owner = Owner(keys=frozenset({f"transcripts/ann/{UID}"}))
    with pytest.raises(NotOwned):
        await storage.delete_prefix(owner, f"transcripts/ann/{UID}")
    assert storage._client.head_object(Bucket="assets", Key=neighbour)


_S3_CALLS = {
    "generate_presigned_url", "get_object", "put_object", "delete_object", "delete_objects", "head_object",
    "list_objects_v2", "list_object_versions", "copy_object", "upload_file", "upload_fileobj",
    "download_file", "download_fileobj", "create_multipart_upload",
}  # fmt: skip


def test_the_operator_reaches_objects_in_no_other_module() -> None:
    """`object_versions` checks no owner: Storage alone may use it."""
    root = Path(contentgen_operator.__file__).parent
    found = {
        path.name
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in _S3_CALLS)
        or (isinstance(node, ast.Constant) and node.value in _S3_CALLS)
    }
    versions = Path(object_versions.__file__)
    assert found == {Path(module.__file__).name, versions.name}
    users = {
        path.name for path in root.rglob("*.py") if versions.stem in path.read_text() and path.name != versions.name
    }
    assert users == {Path(module.__file__).name}
