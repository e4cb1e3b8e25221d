"""Start and end of the programs: keys are in memory only, and a second Ctrl-C leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import pytest

from contentgen_operator.providers.keyfile import KeyFile
from contentgen_try import command, processes
from contentgen_try.processes import Program
from contentgen_try.programs import stack
from contentgen_try.programs.stack import Folders, NotStarted, Stack

DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


def made(folder: Path, *arguments: str) -> Stack:
    return Stack(command.parse(arguments), Folders(folder, folder / "logs", folder / "kept"))


def program(folder: Path, code: str, *arguments: str, descriptors: tuple[int, ...] = ()) -> Program:
    run = (sys.executable, "-c", code, *arguments)
    return Program("operator", run, processes.environment({}), folder / "log", descriptors=descriptors)


def test_a_second_ctrl_c_does_not_interrupt_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "_STOP_SECONDS", 0.1)
    stop = processes.stop

    def interrupted(running: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        stop(running, seconds)

    monkeypatch.setattr(processes, "stop", interrupted)
    with made(tmp_path, "--fal-key", "secret") as running:
        operator = program(tmp_path, DEAF)
        process = processes.start(operator)
        running._running["operator"] = (operator, process)
        while "deaf" not in operator.log.read_text():
            time.sleep(0.05)
    assert process.returncode == -signal.SIGKILL


def test_keys_are_not_on_the_disk_and_readable_more_than_once(tmp_path: Path) -> None:
    with made(tmp_path, "--fal-key", "secret") as running:
        keys = running._key_files()
        path = running._operator_settings(keys)["CONTENTGEN_FAL_KEY_FILE"]
        assert [KeyFile(path).read() for _ in range(2)] == ["secret", "secret"]
        code = "import pathlib, sys; [print(pathlib.Path(sys.argv[1]).read_text()) for _ in range(2)]"
        reading = program(tmp_path, code, path, descriptors=tuple(keys.values()))
        assert processes.start(reading).wait(60) == 0
        assert reading.log.read_text() == "secret\nsecret\n"
        assert [each_path for each_path in tmp_path.rglob("*") if each_path.is_file()] == [reading.log]


@pytest.mark.parametrize(
    ("arguments", "providers"),
    [
        ((), []),
        (("--fal-key", "secret"), ["fal"]),
        (("--fal-key", "secret", "--assemblyai-key", "other"), ["fal", "assemblyai"]),
        (("--fal-key", "secret", "--bucket", "mine"), []),
    ],
)
def test_operator_knows_the_providers_that_cannot_reach_it(
    arguments: tuple[str, ...], providers: list[str], tmp_path: Path
) -> None:
    """Resources that the pages create do not pass the command's own check."""
    with made(tmp_path, *arguments) as running:
        settings = running._operator_settings(running._key_files())
    assert json.loads(settings["CONTENTGEN_S3_UNREACHABLE_FOR"]) == providers


def test_ports_are_free_and_below_those_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection of another program takes an ephemeral port, perhaps before the server that is to have it starts."""
    found = astuple(stack.free_ports())
    assert len(set(found)) == 7
    assert max(found) < 32_768, "Linux' first ephemeral port"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", found[0]))
        monkeypatch.setattr(stack, "_PORTS", range(found[0], found[0] + 1))
        with pytest.raises(NotStarted, match="too few ports"):
            stack.free_ports()
