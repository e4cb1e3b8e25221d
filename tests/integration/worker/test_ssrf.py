"""SSRF protection: no URL makes a worker connect to a forbidden address; without the guard it does.

The canaries listen on the forbidden addresses (metadata services, private networks, loopback) in a separate network
namespace, so that a failing guard reaches nothing else.
"""

import json
import os
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("ssrf_program.py")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results of the program in its namespace."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--net", sys.executable, str(PROGRAM), str(tmp_path_factory.mktemp("ssrf"))]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'worker-image'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_no_forbidden_address_hears_anything(said: dict[str, Any]) -> None:
    guarded = said["guarded"]
    assert len(guarded) >= 250
    assert {url: became for url, became in guarded.items() if became != "refused"} == {}
    assert said["rang"] == []


def test_a_name_that_is_rebound_is_asked_once(said: dict[str, Any]) -> None:
    assert said["rebound"] == ["fetched"] * 5, "the address that was checked is the one that is fetched from"
    assert said["rang"] == []


def test_a_public_address_answers(said: dict[str, Any]) -> None:
    assert said["door"] == "fetched"


def test_without_the_guard_every_canary_rings(said: dict[str, Any]) -> None:
    assert {ip_address(address) for address in said["addresses"]} <= {ip_address(each) for each in said["rang then"]}
    fetched = [url for url, became in said["unguarded"].items() if became == "fetched"]
    assert len(fetched) >= 250
