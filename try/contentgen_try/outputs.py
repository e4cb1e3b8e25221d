"""Copies of a resource's files from the bucket, in the user's folder."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Body = dict[str, Any]


def client(endpoint: str | None, *, own: bool) -> "S3Client":
    """S3 client. `own`: the user's bucket, with the user's credentials; else the local store, which takes any."""
    session = boto3.Session() if own else boto3.Session("local", "local-only")
    return session.client(
        "s3",
        endpoint_url=endpoint,
        region_name=os.environ.get("AWS_REGION", "us-east-1"),
        config=Config(s3={"addressing_style": "path" if endpoint else "auto"}, retries={"max_attempts": 3}),
    )


def copy(client: "S3Client", bucket: str, resource: Body, folder: Path) -> int:
    """Copy all files of a resource into the folder, which is emptied first; returns their number."""
    kind, meta = Kind(resource["kind"]), resource["metadata"]
    user = resource["spec"].get("userId") or meta["namespace"]
    job = (resource.get("status") or {}).get("jobId") or meta["uid"]
    roots = dict.fromkeys(keys.prefix(kind, stage, user, job, 1) for stage in Stage)
    shutil.rmtree(folder, ignore_errors=True)
    return sum(_copy_below(client, bucket, _root(root), folder) for root in dict.fromkeys(map(_root, roots)))


def _root(prefix: str) -> str:
    """`loras/user/job/v1/` → `loras/user/job/`: all versions."""
    return "/".join(prefix.split("/")[:3]) + "/"


def _copy_below(client: "S3Client", bucket: str, prefix: str, folder: Path) -> int:
    count, top = 0, prefix.partition("/")[0]
    for key in _keys(client, bucket, prefix):
        path = (folder / top / key.removeprefix(prefix)).resolve()
        if not path.is_relative_to(folder.resolve()):
            continue  # a key that names another folder is not ours
        path.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(bucket, key, str(path))
        count += 1
    return count


def _keys(client: "S3Client", bucket: str, prefix: str) -> Iterable[str]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for content in page.get("Contents", ()):
            yield content["Key"]
