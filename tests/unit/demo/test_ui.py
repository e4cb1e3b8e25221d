"""`make ui`: its output, and the refusal of used ports."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from contentgen_cluster import release
from contentgen_demo import ui
from contentgen_demo.errors import DemoError

KUBECTL = """#!/bin/sh
echo $$ > "$(dirname "$0")/pid"
echo "$@" >> "$(dirname "$0")/asked"
for last; do :; done
echo "Forwarding from 127.0.0.1:${last%%:*} -> 8000"
exec sleep 10
"""


def _has(family: int, host: str) -> bool:
    try:
        with socket.socket(family) as tried:
            tried.bind((host, 0))
    except OSError:
        return False
    return True


LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
HERE = [(family, host) for family, host in LOOPBACK if family == socket.AF_INET or _has(family, host)]


@pytest.fixture(params=HERE, ids=[host for _, host in HERE])
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    """Port in use, on each address of localhost."""
    family, host = request.param
    with socket.socket(family) as other:
        other.bind((host, 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_taken_port_is_named_with_what_to_do(taken: int) -> None:
    with pytest.raises(DemoError, match=rf"port {taken} .* is taken; .*`make ui PORT={taken + 80}`"):
        ui.refuse_taken((taken,), taken)
    with pytest.raises(DemoError, match=rf"port {taken} .* is taken; .*end it"):
        ui.refuse_taken((taken,), 5000)


def test_a_free_port_is_not() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        free = closed.getsockname()[1]
    ui.refuse_taken((free,))


def test_printed_command_can_be_pasted() -> None:
    lines = ui.welcome(5080, "eyJ.token").splitlines()
    assert "The gateway is at http://localhost:5080" in lines
    assert "eyJ.token" in lines, "by itself, as the sign-in page takes it"
    assert 'curl --header "Authorization: Bearer eyJ.token" http://localhost:5080/api/jobs' in lines


def test_a_forward_takes_the_port_that_it_is_given(tmp_path: Path) -> None:
    kubectl = tmp_path / ".cluster/bin/kubectl"
    kubectl.parent.mkdir(parents=True)
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    with ExitStack() as stack:
        assert stack.enter_context(release.port_forward(tmp_path, "ns", "svc/x", "s3", 5001)) == 5001
    assert (kubectl.parent / "asked").read_text() == "--namespace ns port-forward svc/x 5001:s3\n"


FORWARDING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
from contentgen_cluster import release
from contentgen_demo import ui

def opened(root, stack, port):
    stack.enter_context(release.port_forward(root, "ns", "svc/x", "s3", 5001))
    print("open", flush=True)

ui._open = opened
sys.argv = ["ui"]
sys.exit(ui.main())
"""


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Path]:
    """Folder with a kubectl whose port-forward survives its parent."""
    tool = tmp_path / ".cluster/bin/kubectl"
    tool.parent.mkdir(parents=True)
    tool.write_text(KUBECTL.replace("sleep 10", "sleep 1000"))
    tool.chmod(0o755)
    yield tool.parent
    with contextlib.suppress(ProcessLookupError):
        os.kill(int((tool.parent / "pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_ended_by_a_signal_it_ends_its_forwards(kubectl: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORWARDING], cwd=kubectl.parents[1], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.send_signal(number)
        try:
            process.wait(60)
        finally:
            process.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(int((kubectl / "pid").read_text()), 0)
