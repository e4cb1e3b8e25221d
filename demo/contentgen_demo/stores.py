"""Reads of the jobs' files and records from S3 and MongoDB, through port-forwards to the sandbox."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pymongo
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pymongo.errors import PyMongoError

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_demo.errors import DemoError
from contentgen_demo.report import ReportedFile

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "content-generation-assets"
DATABASE = "content-generation"
_LARGEST_COPY = 8 * 2**20  # bytes; the LoRA itself and the trainer's zip are not for looking


@contextmanager
def demo_errors() -> Iterator[None]:
    """Convert the clients' errors to DemoError."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise DemoError(f"S3 is unavailable: {error}. See kubectl -n contentgen get pods") from None
    except PyMongoError as error:
        raise DemoError(f"MongoDB is unavailable: {error}. See kubectl -n contentgen get pods") from None


def s3_client(port: int, key_id: str, secret: str) -> "S3Client":
    """S3 client of the sandbox on a local port."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}, proxies={}),
    )


def prefixes(kind: Kind, user_id: str, job_id: str) -> tuple[str, ...]:
    """Key prefixes of a job's first version, without duplicates."""
    return tuple(dict.fromkeys(keys.prefix(kind, stage, user_id, job_id, 1) for stage in Stage))


def stored_files(client: "S3Client", folders: Iterable[str]) -> tuple[ReportedFile, ...]:
    """All files under the prefixes; empty if the bucket does not exist."""
    pages = client.get_paginator("list_objects_v2")
    try:
        return tuple(
            ReportedFile(found["Key"], found["Size"])
            for folder in folders
            for page in pages.paginate(Bucket=BUCKET, Prefix=folder)
            for found in page.get("Contents", ())
        )
    except client.exceptions.NoSuchBucket:
        return ()


def download_viewable(client: "S3Client", files: Sequence[ReportedFile], folder: Path) -> tuple[Path, ...]:
    """Download the viewable files; returns their paths."""
    copied = []
    for file in files:
        if not is_viewable(file):
            continue
        path = folder / _local_name(file.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(BUCKET, file.key, str(path))
        copied.append(path)
    return tuple(copied)


def is_viewable(file: ReportedFile) -> bool:
    """Whether a file is viewable: images, text and small JSON, not archives, weights or audio."""
    endings = (".png", ".jpg", ".json", ".txt", ".srt", ".vtt")
    return file.key.endswith(endings) and "/captions/" not in file.key and file.size <= _LARGEST_COPY


def _local_name(key: str) -> str:
    """`datasets/user/job/images/0001.jpg` → `dataset/images/0001.jpg`; `loras/user/job/v1/config.json` → `lora/…`."""
    top, _, _, *rest = key.split("/")
    return "/".join([_LOCAL[top], *(part for part in rest if part != "v1")])


_LOCAL = {"datasets": "dataset", "loras": "lora", "generated-images": "pictures", "transcripts": "transcript"}


def documents(port: int, job_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Records of the jobs by jobId."""
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
        "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=10_000, tz_aware=True
    )
    with client:
        found = client[DATABASE]["jobs"].find({"jobId": {"$in": list(job_ids)}})
        return {document["jobId"]: document for document in found}
