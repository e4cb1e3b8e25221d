"""`make test-real` against the sandbox: consent before requests, and passing tests with correct providers."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from contentgen_real import consent, providers
from contentgen_sandbox.testing import SandboxServer

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "contentgen_real", "-p", "no:cacheprovider"]
KEYS = {"FAL_KEY": "test-fal-key", "ASSEMBLYAI_API_KEY": "test-assemblyai-key"}


@pytest.fixture
def server(server: SandboxServer) -> SandboxServer:
    server.reset()
    return server


def environment(server: SandboxServer, **more: str) -> dict[str, str]:
    ours = ("REAL_", "FAL_", "ASSEMBLYAI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"REAL_API_BASE": server.url} | more


def real(server: SandboxServer, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND, cwd=ROOT, env=environment(server, **more), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def asked(server: SandboxServer, answer: str, **more: str) -> tuple[int, str]:
    """Run on a terminal with typed input."""
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    try:
        done = subprocess.run(
            COMMAND, cwd=ROOT, env=environment(server, **more), stdin=theirs, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    return done.returncode, done.stdout + done.stderr


def sent(server: SandboxServer) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = server.ledger()["entries"]
    return entries


def test_without_consent_nothing_is_sent(server: SandboxServer) -> None:
    done = real(server, REAL_API_TESTS="true", **KEYS)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Nobody can be asked here, so nothing was sent." in done.stderr
    assert sent(server) == []


@pytest.mark.parametrize(
    ("more", "answer", "text"),
    [
        ({}, "yes", "REAL_API_TESTS=true           that you want it"),
        (KEYS, "yes", "REAL_API_TESTS=true           that you want it"),
        ({"REAL_API_TESTS": "true", "REAL_API_CONFIRM": "yes"}, "yes", "Nothing can run: no key is set."),
        ({"REAL_API_TESTS": "true", "REAL_API_TRAINING": "true"}, "yes", "Nothing can run: no key is set."),
        ({"REAL_API_TESTS": "true", **KEYS}, None, "Nobody can be asked here"),
        ({"REAL_API_TESTS": "true", "REAL_API_CONFIRM": "no", **KEYS}, None, "Nobody can be asked here"),
        ({"REAL_API_TESTS": "true", **KEYS}, "", "Not agreed to"),
        ({"REAL_API_TESTS": "true", **KEYS}, "y", "Not agreed to"),
    ],
)
def test_answers_that_are_no_consent(more: dict[str, str], answer: str | None, text: str) -> None:
    said: list[str] = []
    with pytest.raises(consent.NotAgreed, match=re.escape(text)):
        consent.agreed(more, said.append, None if answer is None else lambda _: answer)


@pytest.mark.parametrize(
    ("more", "answer"), [({"REAL_API_CONFIRM": "yes"}, None), ({}, "yes"), ({"REAL_API_CONFIRM": "no"}, " YES\n")]
)
def test_consent_comes_after_the_price(more: dict[str, str], answer: str | None) -> None:
    said: list[str] = []

    def ask(_: str) -> str:
        assert "Together about 0.0036 USD." in said[-1]
        return answer or ""

    consent.agreed({"REAL_API_TESTS": "true", **KEYS, **more}, said.append, ask if answer else None)
    assert "Together about 0.0036 USD." in said[-1]


def test_check_shows_the_cost_and_accepts_a_no(server: SandboxServer) -> None:
    code, text = asked(server, "y\n", REAL_API_TESTS="true", FAL_KEY="k")
    assert (code, sent(server)) == (2, [])
    assert "picture    0.0030 USD  fal-ai/flux/schnell (built-in prices of 2026-11); runs with FAL_KEY" in text
    assert "sound      0.0006 USD  assemblyai/universal" in text
    assert "left out: set ASSEMBLYAI_API_KEY\n" in text
    assert "left out: set REAL_API_TRAINING=true\n" in text
    assert "Together about 0.0030 USD." in text
    assert "Not agreed to, so nothing was sent." in text


def test_with_a_yes_each_is_bought_once(server: SandboxServer) -> None:
    code, text = asked(server, "yes\n", REAL_API_TESTS="true", REAL_API_TRAINING="true", **KEYS)
    assert code == 0, text
    assert "Together about 0.2036 USD." in text
    assert "3 passed" in text
    assert sorted(entry["model"] for entry in sent(server)) == [
        "best", "fal-ai/flux-lora-fast-training", "fal-ai/flux/schnell",
    ]  # fmt: skip
    kept = {path.name: path.read_text() for path in providers.BUILD.glob("sandbox-*.json")}
    history = json.loads(kept["sandbox-fal-history.json"])["shape"]
    assert {"request_id", "json_input"} <= set(history["items"][0])
    assert all(key not in text for text in kept.values() for key in KEYS.values())


def test_check_without_a_key_is_skipped(server: SandboxServer) -> None:
    done = real(server, REAL_API_TESTS="true", REAL_API_CONFIRM="yes", FAL_KEY="k")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 2 deselected" in done.stdout
    assert len(sent(server)) == 1


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"fault": "model_error", "provider": "fal"}, "test_picture"),
        ({"fault": "reply_lost", "provider": "fal"}, "MaybeAccepted"),
    ],
)
def test_a_provider_that_fails_fails_the_test(server: SandboxServer, fault: dict[str, Any], text: str) -> None:
    server.arm(fault)
    done = real(server, REAL_API_TESTS="true", REAL_API_CONFIRM="yes", FAL_KEY="k")
    assert done.returncode == 1
    assert text in done.stdout
    assert len(sent(server)) <= 1


def test_a_bare_pytest_collects_none_of_it(server: SandboxServer) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/real"]
    keys = environment(server, REAL_API_TESTS="true", **KEYS)
    done = subprocess.run(command, cwd=ROOT, env=keys, capture_output=True, text=True, check=False)
    assert "no tests collected" in done.stdout, done.stdout
    assert sent(server) == []


def test_real_means_where_the_operator_goes_by_itself() -> None:
    place = providers.BuildPlace.of({"FAL_KEY": "k"})
    hosts = {httpx.URL(url).host for url in (place.fal_url, place.fal_api_url, place.assemblyai_url)}
    assert hosts == {"queue.fal.run", "api.fal.ai", "api.assemblyai.com"}
    assert not place.stand_in


def test_a_shape_holds_no_values() -> None:
    seen = providers.shape({"b": [{"c": "secret", "d": None}, {}], "a": 1})
    assert seen == {"a": "int", "b": [{"c": "str", "d": "null"}]}


def test_costs_are_rounded_up() -> None:
    assert [consent.dollars(micros) for micros in (0, 1, 100, 101, 2_000_000)] == [
        "0.0000", "0.0001", "0.0001", "0.0002", "2.0000",
    ]  # fmt: skip
