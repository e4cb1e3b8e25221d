"""Ctrl-C and SIGTERM: messages and exit codes."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from contentgen_try import command
from contentgen_try.apply import Document
from contentgen_try.programs.stack import Folders, Stack
from contentgen_try.run import Run

ENDED_BY_SIGTERM = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for a command in the background
from contentgen_try import command
from contentgen_try.apply import Document
def interrupted(*_):
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        print("interrupted")
    return 0
command._main = interrupted
command.main([])
"""


@pytest.mark.parametrize(("arguments", "nothing"), [((), True), (("--fal-key", "secret"), False)])
def test_only_a_run_that_cannot_pay_says_that_nothing_was_paid(
    arguments: tuple[str, ...], nothing: bool, tmp_path: Path
) -> None:
    options, output = command.parse(arguments), io.StringIO()
    stack = Stack(options, Folders(tmp_path, tmp_path / "logs", tmp_path / "kept"))
    Run(stack, Console(file=output), options).interrupted()
    assert ("Nothing was paid" in output.getvalue()) is nothing
    assert ("Requests of earlier runs" in output.getvalue()) is not nothing


def test_sigterm_ends_a_command_of_the_background() -> None:
    code = [sys.executable, "-c", ENDED_BY_SIGTERM]
    done = subprocess.run(code, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "interrupted\n"


class Found:
    """Cluster with one resource."""

    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    def find(self, _: str) -> dict[str, Any]:
        return {"status": self._status}


@pytest.mark.parametrize(
    ("arguments", "phase", "warns"),
    [
        (("--fal-key", "secret"), "Processing", True),
        (("--fal-key", "secret"), "Completed", False),
        ((), "Processing", False),
    ],
)
def test_a_command_that_ends_by_itself_names_open_requests(
    arguments: tuple[str, ...], phase: str, warns: bool, tmp_path: Path
) -> None:
    options, output = command.parse(arguments), io.StringIO()
    run = Run(
        Stack(options, Folders(tmp_path, tmp_path / "logs", tmp_path / "kept")),
        Console(file=output, width=300),
        options,
    )
    body = {"apiVersion": "contentgen.dev/v1alpha1", "kind": "ImageGeneration", "metadata": {"name": "it"}}
    run.documents = (Document(Path("it.yaml"), body),)
    cluster: Any = Found({"phase": phase, "run": {"requestId": "r-1"}})
    run._cluster = cluster
    run.ended()
    assert ("request r-1 is under way at the provider" in output.getvalue()) is warns
    assert ("pays nothing twice" in output.getvalue()) is warns


@pytest.mark.parametrize(
    ("run", "shown"),
    [
        ({}, False),  # it waits for a LoRA, beside a resource whose worker has a log
        ({"logs": [{"stage": "prepare", "text": "…"}]}, True),
        ({"job": {"name": "contentgen-0-r1-prepare-1", "stage": "prepare"}}, True),
    ],
)
def test_a_log_is_named_only_where_a_worker_ran(run: dict[str, Any], shown: bool, tmp_path: Path) -> None:
    options, output = command.parse(["--folder", str(tmp_path)]), io.StringIO()
    stack = Stack(options, Folders(tmp_path, tmp_path / "logs", tmp_path / "kept"))
    (stack.folders.pod_logs / "mine").mkdir(parents=True)
    meta = {"name": "one", "namespace": "mine", "creationTimestamp": "2026-11-26T12:00:00Z", "generation": 1}
    status = {"phase": "Queued", "reason": "LoraMissing", "message": "no LoRA", "run": run}
    resource = {"kind": "ImageGeneration", "metadata": meta, "spec": {}, "status": status}
    Run(stack, Console(file=output, width=300), options).report([resource])
    assert ("the worker's log: " in output.getvalue()) is shown
