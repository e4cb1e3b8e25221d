"""Presigned uploads on a real S3 server: conditional PUTs, delete markers, copies, and a worker's retries."""

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import httpx
from botocore.exceptions import ClientError

from contentgen_contract.records.ownership import Owner
from contentgen_contract.worker.orders import FileOffer, UploadGrant
from contentgen_operator.state.observed import BucketFile
from contentgen_operator.stores.s3 import Storage
from contentgen_worker.files import JPEG, Output
from contentgen_worker.retry import STORE
from contentgen_worker.upload import Uploader

# All prefixes of this file.
OWNER = Owner(folders=frozenset(f"{each}/" for each in ("once", "race", "kept", "marker", "copied", "swap", "retry")))
LIFETIME = timedelta(minutes=10)
CONTENT = b"a picture"
NAME = "images/0001.jpg"


def offer(content: bytes = CONTENT, name: str = NAME) -> FileOffer:
    sha256 = hashlib.sha256(content).hexdigest()
    return FileOffer(name=name, size_bytes=len(content), sha256=sha256, content_type="image/jpeg")


def put(grant: UploadGrant, content: bytes = CONTENT, without: str = "") -> int:
    headers = {name: value for name, value in grant.headers.items() if name != without}
    return httpx.put(grant.url, content=content, headers=headers).status_code


def read(storage: Storage, key: str) -> bytes:
    return bytes(storage._client.get_object(Bucket=storage.bucket, Key=key)["Body"].read())


async def test_a_grant_stores_a_file_once(storage: Storage) -> None:
    grant, other = (
        storage.grant(OWNER, "once/", offer(), LIFETIME),
        storage.grant(OWNER, "once/", offer(b"A PICTURE"), LIFETIME),
    )
    assert put(grant, without="If-None-Match") == 403, "the header is signed"
    assert [put(grant), put(grant), put(other, b"A PICTURE")] == [200, 412, 412]
    assert read(storage, "once/" + NAME) == CONTENT
    head = storage._client.head_object(Bucket=storage.bucket, Key="once/" + NAME)
    assert head["ContentType"] == "image/jpeg"


async def test_sixteen_concurrent_puts_store_one_object(storage: Storage) -> None:
    contents = [b"picture %02d" % number for number in range(16)]
    grants = [storage.grant(OWNER, "race/", offer(content), LIFETIME) for content in contents]
    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(put, grants, contents))
    assert (codes.count(200), codes.count(412)) == (1, 15)
    assert read(storage, "race/" + NAME) == contents[codes.index(200)]


async def test_a_file_stored_as_offered_is_kept_and_another_replaced(storage: Storage) -> None:
    assert put(storage.grant(OWNER, "kept/", offer(), LIFETIME)) == 200
    found = await storage.leftovers(OWNER, "kept/", [offer()])
    assert (found.kept, found.stale) == ({NAME}, ())
    found = await storage.leftovers(OWNER, "kept/", [offer(b"A PICTURE")])
    assert (found.kept, {key for key, _ in found.stale}) == (frozenset(), {"kept/" + NAME})
    await storage.remove(OWNER, found.stale)
    assert put(storage.grant(OWNER, "kept/", offer(b"A PICTURE"), LIFETIME), b"A PICTURE") == 200
    assert read(storage, "kept/" + NAME) == b"A PICTURE"


async def test_a_delete_marker_is_removed_before_a_put(storage: Storage) -> None:
    """Delete marker as newest version: versitygw answers PUT by 412, HEAD by 404; S3 and MinIO create the object."""
    assert put(storage.grant(OWNER, "marker/", offer(), LIFETIME)) == 200
    storage._client.delete_object(Bucket=storage.bucket, Key="marker/" + NAME)
    assert not await storage.exists(OWNER, "marker/" + NAME)
    found = await storage.leftovers(OWNER, "marker/", [offer()])
    assert (found.kept, len(found.stale)) == (frozenset(), 2), "the version and the marker"
    await storage.remove(OWNER, found.stale)
    assert put(storage.grant(OWNER, "marker/", offer(), LIFETIME)) == 200


async def test_a_copy_is_no_create_only_write(storage: Storage) -> None:
    """versitygw ignores the condition on CopyObject, so our code must not rely on it; see decision 0018."""
    client = storage._client
    assert put(storage.grant(OWNER, "copied/", offer(), LIFETIME)) == 200
    client.put_object(Bucket=storage.bucket, Key="copied/other", Body=b"other")
    source = f"{storage.bucket}/copied/other"
    with suppress(ClientError):  # by stores that enforce If-None-Match
        client.copy_object(Bucket=storage.bucket, Key="copied/" + NAME, CopySource=source, IfNoneMatch="*")
    content = read(storage, "copied/" + NAME)
    assert content in (CONTENT, b"other")
    shows = {NAME: BucketFile(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())}
    assert await storage.stored(OWNER, "copied/", [NAME]) == shows, "verification sees the copy"


async def test_a_verified_file_cannot_be_swapped_by_an_unused_grant(storage: Storage) -> None:
    early = storage.grant(OWNER, "swap/", offer(b"A PICTURE"), LIFETIME)
    assert put(storage.grant(OWNER, "swap/", offer(), LIFETIME)) == 200
    verified = await storage.stored(OWNER, "swap/", [NAME])
    assert put(early, b"A PICTURE") == 412
    assert await storage.stored(OWNER, "swap/", [NAME]) == verified


async def test_a_retry_ends_with_exactly_its_own_files(storage: Storage) -> None:
    """A failed attempt left identical files, different files of the same names, and a delete marker.

    Another PUT of that attempt arrives between the retry's grants and the retry's PUTs.
    """
    outputs = [Output.from_bytes(f"images/{n:04}.jpg", JPEG, b"picture %d" % n) for n in range(1, 33)]
    prefix = "retry/"
    for output in outputs[:20]:
        content = output.body() if int(output.name[7:11]) % 2 else b"of the failed attempt"
        assert isinstance(content, bytes)
        assert put(storage.grant(OWNER, prefix, offer(content, output.name), LIFETIME), content) == 200
    storage._client.delete_object(Bucket=storage.bucket, Key=prefix + outputs[0].name)
    late = storage.grant(OWNER, prefix, offer(b"late", outputs[30].name), LIFETIME)
    asked: list[int] = []

    def grants(offers: Sequence[FileOffer]) -> tuple[UploadGrant, ...]:
        """Grants as issued by the worker API."""
        asked.append(len(offers))

        async def given() -> tuple[UploadGrant, ...]:
            found = await storage.leftovers(OWNER, prefix, offers)
            await storage.remove(OWNER, found.stale)
            signed = [storage.grant(OWNER, prefix, offered, LIFETIME) for offered in offers]
            return tuple(each.model_copy(update={"stored": each.name in found.kept}) for each in signed)

        answer = asyncio.run(given())
        if len(asked) == 1:
            assert put(late, b"late") == 200
        return answer

    def work() -> None:
        with Uploader(grants, STORE.scaled(0.05)) as uploader:
            uploader.store(outputs, lambda _: None)

    await asyncio.to_thread(work)
    assert asked == [32, 1], "the late one is met by 412, removed and replaced"
    found = await storage.stored(OWNER, prefix, [output.name for output in outputs])
    assert {name: each.sha256 for name, each in found.items()} == {output.name: output.sha256 for output in outputs}
