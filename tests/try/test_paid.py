"""Runs with a provider's key: the ledger outlives the run, and nothing is paid twice."""

from pathlib import Path

import pytest

from contentgen_sandbox.testing import SandboxServer
from contentgen_simulation.try_runs import Start

PICTURE = """
apiVersion: contentgen.dev/v1alpha1
kind: ImageGeneration
metadata: {name: lighthouse, namespace: mine}
spec: {model: flux-dev, prompt: A lighthouse at dusk}
"""


@pytest.fixture
def command(tmp_path: Path) -> tuple[str | Path, ...]:
    """Arguments of a run with a key, always the same."""
    (tmp_path / "picture.yaml").write_text(PICTURE)
    (tmp_path / "key").write_text("key-of-a-test")
    key = ("--fal-key-file", tmp_path / "key")
    return (tmp_path / "picture.yaml", "--folder", tmp_path / "results", *key, "--no-serve")


def charges(provider: SandboxServer) -> int:
    return len(provider.ledger()["entries"])


def test_run_killed_before_the_reply_pays_once(
    start: Start, provider: SandboxServer, command: tuple[str | Path, ...], tmp_path: Path
) -> None:
    provider.arm({"fault": "slow_accept", "provider": "fal", "delay_s": 600})
    first = start(*command, providers=provider.url)
    first.until(lambda _: charges(provider))
    first.kill()
    second = start(*command, providers=provider.url)
    assert second.ended() == 0, second.said
    assert charges(provider) == 1
    assert list((tmp_path / "results/mine/imagegeneration-lighthouse").rglob("*.png"))
    third = start(*command, providers=provider.url)
    assert third.ended() == 0, third.said
    assert "ImageGeneration lighthouse: finished earlier, nothing paid" in third.said
    assert charges(provider) == 1


def test_ctrl_c_names_the_request_that_is_under_way(
    start: Start, provider: SandboxServer, command: tuple[str | Path, ...]
) -> None:
    provider.arm({"fault": "slow_model", "provider": "fal", "delay_s": 600})
    run = start(*command, providers=provider.url)
    run.until(lambda said: "Processing" in said)
    run.process.send_signal(2)
    assert run.ended() == 130
    request = provider.ledger()["entries"][0]["request_id"]
    assert f"request {request} is under way at the provider" in run.said
    assert "continues, and pays nothing twice" in run.said


def test_a_damaged_ledger_is_an_error_and_nothing_is_paid(
    start: Start, provider: SandboxServer, command: tuple[str | Path, ...], tmp_path: Path
) -> None:
    assert start(*command, providers=provider.url).ended() == 0
    store = tmp_path / "results/.paid/mongodb/store"
    for left in (store.read_bytes()[:8192], b""):  # the store opens the first as an empty one
        store.write_bytes(left)
        damaged = start(*command, providers=provider.url)
        assert damaged.ended() == 1
        assert "the ledger of what was paid is damaged" in damaged.said
    without_key = start(command[0], "--folder", tmp_path / "results")
    assert without_key.ended() == 1
    assert "has paid results" in without_key.said
    assert charges(provider) == 1
