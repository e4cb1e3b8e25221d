"""Benchmark of the operator: retries of the simulated worker, and processes that have ended."""

import os
import signal
import subprocess
import sys

import pytest

from contentgen_bench.latency.simulated_node import _is_retried
from contentgen_bench.processes import MeasuredProcess


@pytest.mark.parametrize(
    ("status", "seconds", "retried"),
    [
        (200, 0, False),
        (204, 0, False),
        (404, 0, False),
        (422, 0, False),
        (401, 0, True),
        (403, 0, True),  # the operator records a Job after its creation
        (403, 29, True),
        (403, 31, False),
        (425, 500, True),
        (429, 500, True),
        (503, 500, True),
    ],
)
def test_the_simulated_worker_retries_as_a_worker_does(status: int, seconds: float, *, retried: bool) -> None:
    assert _is_retried(status, seconds) is retried


def test_a_process_that_was_not_waited_for_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = MeasuredProcess(child.pid)
        assert process.runs()
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
        assert not process.runs()
    assert not process.runs()
