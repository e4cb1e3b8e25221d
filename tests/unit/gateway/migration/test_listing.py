"""Copies between buckets, which not all stores can make conditional."""

import ast
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from contentgen_gateway.migration.asset_listing import copy_missing

ROOT = Path(__file__).parents[4]


def test_a_copy_leaves_existing_keys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        for bucket in ("old", "ours"):
            client.create_bucket(Bucket=bucket)
        client.put_object(Bucket="ours", Key="loras/u/j/v1/model.safetensors", Body=b"verified")
        for name in ("model.safetensors", "config.json"):
            client.put_object(Bucket="old", Key=f"loras/u/j/v1/{name}", Body=b"of the old service")
        copy_missing(client, "old", "ours", ["loras/u/j/"])
        found = {
            content["Key"].rpartition("/")[2]: client.get_object(Bucket="ours", Key=content["Key"])["Body"].read()
            for content in client.list_objects_v2(Bucket="ours")["Contents"]
        }
    assert found == {"model.safetensors": b"verified", "config.json": b"of the old service"}


def test_single_module_copies_objects() -> None:
    """CopyObject ignores `If-None-Match` on some stores, and would replace a verified file there."""
    folders = (ROOT / "operator", ROOT / "worker-image", ROOT / "sandbox")
    copying = {"copy_object", "upload_part_copy", "copy_from"}
    found = {
        (path.name, node.attr)
        for folder in folders
        for path in folder.rglob("*.py")
        if "copy" in (text := path.read_text("utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute)
        and (node.attr in copying or (node.attr == "copy" and getattr(node.value, "id", "") in {"client", "bucket"}))
    }
    assert found == {("asset_listing.py", "copy")}
