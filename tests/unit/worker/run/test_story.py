"""Log lines of a worker as text for users: readable, bounded, without secrets."""

import json
import resource
import subprocess
import sys

import pytest

from contentgen_contract.resources.status import MAX_LOG
from contentgen_contract.worker import log


def line(event: str, level: str = "info", **fields: object) -> str:
    return json.dumps({"time": "2026-11-21T07:08:09.123+00:00", "level": level, "jobId": "u", "event": event} | fields)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (line("order", version=2, attempt=1), "07:08:09 order: version 2, attempt 1"),
        (line("step", step="Downloading", bytes=12_345_678, seconds=1.25), "07:08:09 Downloading: 12.3 MB, 1.2 s"),
        (line("step", step="X", left_out={"Blurred": 2, "Dark": 1}), "07:08:09 X: left out Blurred 2 Dark 1"),
        (line("step", step="X", left_out={}), "07:08:09 X: left out none"),
        (line("step", step="X", pictures=["8x8", "9x9"]), "07:08:09 X: pictures 8x8 9x9"),
        (line("terminated"), "07:08:09 terminated"),
        (
            line("no outcome", "error", error="worker API away", exit=1),
            "07:08:09 error: no outcome: worker API away, exit 1",
        ),
        (line("crashed", "error", traceback="Traceback:\n  x"), "07:08:09 error: crashed\nTraceback:\n  x"),
        ("Killed\n", "Killed"),
        ('{"event": 1}', '{"event": 1}'),
        ("[1]", "[1]"),
    ],
)
def test_a_line_is_told(said: str, text: str) -> None:
    assert log.format_line(said) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://h/a?X-Amz-Signature=abc&b=1 failed", "GET https://h/a failed"),
        ("http://user:pass@h/a", "http://h/a"),
        ("X-Amz-Credential=AKIA/2026", "***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("token eyJhbGciOi.eyJpc3Mi.c2ln rejected", "token *** rejected"),
        ("why? because https://h/a", "why? because https://h/a"),
    ],
)
def test_secrets_are_not_told(text: str, shown: str) -> None:
    assert log.format_line(text) == shown
    assert log.format_line(line("again", error=text)).endswith(shown)


def test_the_tail_keeps_the_last_whole_lines() -> None:
    lines = [f"{number:04} {'x' * 95}" for number in range(100)]
    kept = log.tail([log.LogLine(line) for line in lines])
    assert len(kept) <= MAX_LOG
    assert kept.splitlines() == lines[-40:]
    assert log.tail([]) == ""
    assert log.tail([log.LogLine("a" * 10_000 + "end")]).endswith("end")
    assert len(log.tail([log.LogLine("a" * 10_000)])) == MAX_LOG
    assert log.tail([log.LogLine("ä" * MAX_LOG)]) == "ä" * MAX_LOG


def test_of_the_same_tries_the_last_is_kept() -> None:
    tries = [line("again", error="worker API away", pause=0.5, attempt=number) for number in (1, 2, 3)]
    other = line("again", error="store away", pause=0.5, attempt=1)
    forged = "07:08:09 again: worker API away, pause 0.5, attempt 7"
    given = (line("order"), *tries, other, tries[0], forged, line("terminated"))
    lines = [log.parse_line(each) for each in given]
    assert [text[9:] for text in log.tail(lines).splitlines()] == [
        "order",
        "again: worker API away, pause 0.5, attempt 3",
        "again: store away, pause 0.5, attempt 1",
        "again: worker API away, pause 0.5, attempt 1",
        "again: worker API away, pause 0.5, attempt 7",
        "terminated",
    ]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (12_345, "12.3 kB"), (5e6, "5.0 MB"), (7e12, "7000.0 GB")]
)
def test_sizes(size: float, text: str) -> None:
    assert log.human_bytes(size) == text


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '{"event": "x", "time": "2026-11-21T07:00:00Z", "more": ' + "[" * 100_000,
        '{"event": "x", "time": "2026-11-21T07:00:00Z", "traceback": [1]}',
        '{"event": "x", "time": "2026-11-21T07:00:00Z", "bytes": 1' + "0" * 400 + "}",
        '{"event": "x", "time": "2026-11-21T07:00:00Z", "seconds": 1' + "0" * 400 + "}",
    ],
    ids=lambda line: line[:60],
)
def test_a_line_that_no_worker_of_ours_writes_is_passed_on(line: str) -> None:
    """Users with exec rights can write to a worker's log; the operator, `kubectl contentgen` and the pages read it."""
    assert log.format_line(line) == line


SCRUBBED = """
import sys
from contentgen_contract.worker import log
for piece in ("http://", "http://a", "-eyJ", "eyJ.", "-eyJa.", "X-Amz-", "bearer ", "http://a@"):
    log.redact_secrets(piece * (1_000_000 // len(piece)))
"""


def test_the_time_to_scrub_a_line_is_proportional_to_its_length() -> None:
    """The operator reads 64 KiB of an untrusted log, synchronously.

    The limit is CPU time: 8 MB take some seconds, and hours where a search starts anew at each piece.
    """
    cpu_seconds = 60
    done = subprocess.run(
        [sys.executable, "-c", SCRUBBED],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds)),
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/a?b=1, https://h/c?d=2", "https://h/a https://h/c"),
        ("https://h/a https://h/b?X-Amz-Signature=s", "https://h/a https://h/b"),
        ("id-eyJhbGciOi.eyJpc3Mi.c2ln.", "id-***."),
        ("eyJ" + "a" * 1000 + ".b.c", "***"),
        ("eyJhbGciOi.no", "eyJhbGciOi.no"),
        ("X-Amz-Security-Token=a&b X-Amz-SignedHeaders=host", "***&b ***"),
    ],
)
def test_every_secret_of_a_line_is_scrubbed(text: str, shown: str) -> None:
    assert log.redact_secrets(text) == shown
