"""`make test-real` against the sandbox over HTTP, and against a real S3 server: consent, one payment each, bucket."""

import os
import pty
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from contentgen_real import place
from contentgen_real.place import ProviderPlace
from contentgen_sandbox.testing import S3Server, SandboxServer

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "contentgen_real"]
KEYS = {"FAL_KEY": "test-fal-key", "ASSEMBLYAI_API_KEY": "test-assemblyai-key", "FAL_ADMIN_KEY": "billing-key"}
OURS = ("REAL_", "FAL_", "ASSEMBLYAI_", "CONTENTGEN_", "S3_", "KUBE_", "MAX_USD")


@pytest.fixture
def server(server: SandboxServer) -> SandboxServer:
    server.reset()
    return server


@pytest.fixture
def environment(server: SandboxServer, tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return kept | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT / "tests/simulation"), kept.get("PYTHONPATH")))),
        "CONTENTGEN_FAL_QUEUE_URL": f"{server.url}/fal",
        "CONTENTGEN_FAL_API_URL": server.fal_api_url,
        "CONTENTGEN_ASSEMBLYAI_URL": server.assemblyai_url,
        "REAL_API_FOLDER": str(tmp_path / "real"),
        "REAL_API_TESTS": "true",
    }


def real(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def asked(environment: dict[str, str], answer: str, *arguments: str) -> tuple[int, str]:
    """Run on a terminal with typed input."""
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    try:
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=ROOT, env=environment, stdin=theirs, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    return done.returncode, done.stdout + done.stderr


def sent(server: SandboxServer) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = server.ledger()["entries"]
    return entries


def test_without_consent_nothing_is_sent(server: SandboxServer, environment: dict[str, str]) -> None:
    done = real(environment | KEYS)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Nobody can be asked here, so nothing was sent." in done.stdout
    code, text = asked(environment | KEYS, "y\n")
    assert code == 2
    assert "Not agreed to, so nothing was sent." in text
    assert sent(server) == []


def test_with_a_yes_each_is_bought_once(server: SandboxServer, environment: dict[str, str]) -> None:
    code, text = asked(environment | KEYS, "yes\n", "--only", "pictures", "--only", "history")
    assert code == 0, text
    assert Counter(entry["model"] for entry in sent(server)) == {"fal-ai/flux/schnell": 2}
    assert not any(key in text for key in KEYS.values())
    later = real(environment | KEYS | {"REAL_API_CONFIRM": "yes"}, "--later")
    assert later.returncode == 0, later.stdout + later.stderr
    assert "pictures, fal-ai/flux/schnell: 1 rows of fal-ai/flux/schnell, 0.003 USD" in later.stdout


def test_without_a_key_its_steps_are_skipped(server: SandboxServer, environment: dict[str, str]) -> None:
    done = real(
        environment | {"FAL_KEY": "k" * 10, "REAL_API_CONFIRM": "yes"}, "--only", "pictures", "--only", "transcripts"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped: set ASSEMBLYAI_API_KEY\n" in done.stdout
    assert {entry["provider"] for entry in sent(server)} == {"fal"}


@pytest.mark.parametrize(
    ("fault", "text"), [("model_error", "fal-ai/flux/schnell failed: "), ("reply_lost", "fal's reply was lost")]
)
def test_a_provider_that_fails_fails_the_step(
    server: SandboxServer, environment: dict[str, str], fault: str, text: str
) -> None:
    server.arm({"fault": fault, "provider": "fal"})
    done = real(environment | {"FAL_KEY": "k" * 10, "REAL_API_CONFIRM": "yes"}, "--only", "pictures")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"pictures, end: expected no error, found {text}" in done.stdout
    assert len(sent(server)) == 1


def test_bucket_and_training_with_presigned_urls(
    server: SandboxServer, environment: dict[str, str], s3: S3Server
) -> None:
    client = boto3.client(
        "s3", endpoint_url=s3.endpoint, aws_access_key_id=s3.access_key, aws_secret_access_key=s3.secret_key,
        region_name="us-east-1",
    )  # fmt: skip
    client.create_bucket(Bucket="real-assets")
    client.put_bucket_versioning(Bucket="real-assets", VersioningConfiguration={"Status": "Enabled"})
    bucket = {"S3_BUCKET": "real-assets", "S3_ENDPOINT": s3.endpoint, "S3_ACCESS_KEY": s3.access_key,
              "S3_SECRET_KEY": s3.secret_key}  # fmt: skip
    more = bucket | KEYS | {"REAL_API_CONFIRM": "yes", "MAX_USD": "3"}
    done = real(environment | more, "--only", "bucket", "--only", "training")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "S3 deleteMany: as on AWS" in done.stdout
    assert [entry["model"] for entry in sent(server)] == ["fal-ai/flux-lora-fast-training", "fal-ai/flux-lora"]
    left = client.list_object_versions(Bucket="real-assets")
    assert [*left.get("Versions", ()), *left.get("DeleteMarkers", ())] == []


def test_real_means_where_the_operator_goes_by_itself() -> None:
    real_place = ProviderPlace.of({"FAL_KEY": "k"})
    hosts = {httpx.URL(url).host for url in (real_place.fal_queue, real_place.fal_api, real_place.assemblyai)}
    assert hosts == {"queue.fal.run", "api.fal.ai", "api.assemblyai.com"}
    assert real_place.stand_ins == ()
    assert real_place.folder == place.BUILD
