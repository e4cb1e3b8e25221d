"""Error reports to Sentry, as received by an ingest server on loopback. Each test has a process: the SDK is global."""

import gzip
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

CANARY = "canary-7f3a"
# Reconcile of a resource that fails. Every field that may contain a secret contains the canary.
POISONED = f"""
import logging
from contentgen_operator.telemetry import sentry
from contentgen_runtime import logs
from contentgen_operator.state.observed import ResourceRef
from contentgen_contract.names import Kind

def look(prompt, authorization):
    signed = "https://s3.example/b/o?X-Amz-Signature={CANARY}"
    try:
        raise KeyError("Key {CANARY}")
    except KeyError as cause:
        raise ValueError(f"input_value={{prompt!r}} at {{signed}}") from cause

logs.configure("json")
sentry.start(DSN, "staging")
ref = ResourceRef(kind=Kind.IMAGE_GENERATION, namespace="{CANARY}", name="{CANARY}", uid="uid-1")
try:
    look("a prompt of {CANARY}", "Key {CANARY}")
except ValueError:
    logging.getLogger("contentgen_operator.reconcile").exception(
        "reconcile failed; again in %.0f s; %s", 1, "{CANARY}", extra=ref.about | {{"purchase": "{CANARY}"}}
    )
"""


class Ingest(ThreadingHTTPServer):
    """Sentry's envelope endpoint."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[str] = []
        self.paths: list[str] = []

    @property
    def dsn(self) -> str:
        return f"http://public@127.0.0.1:{self.server_port}/42"

    def events(self) -> list[dict[str, Any]]:
        """Items of type event in all envelopes: a line of headers before each payload."""
        lines = [line for body in self.bodies for line in body.splitlines() if line]
        items = [(json.loads(head), payload) for head, payload in itertools.pairwise(lines)]
        return [json.loads(payload) for head, payload in items if head.get("type") == "event"]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Ingest)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.bodies.append((gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body).decode())
        server.paths.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Do nothing."""


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    with Ingest() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def python(program: str, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=inherited | env, capture_output=True, text=True, timeout=300, check=False)


def test_exception_is_one_event_with_its_job_without_user_data(ingest: Ingest) -> None:
    result = python(f"DSN = {ingest.dsn!r}\n{POISONED}")
    assert result.returncode == 0, result.stderr
    assert CANARY in result.stderr  # the log has the rest
    (event,) = ingest.events()
    assert set(ingest.paths) == {"/api/42/envelope/"}
    assert event["tags"] == {"jobId": "uid-1", "kind": "ImageGeneration"}
    assert (event["environment"], event["level"]) == ("staging", "error")
    assert event["release"].startswith("contentgen@")
    assert event["logger"] == "contentgen_operator.reconcile"
    assert event["logentry"]["message"] == "reconcile failed; again in %.0f s; %s"
    assert [each["type"] for each in event["exception"]["values"]] == ["KeyError", "ValueError"]
    frames = event["exception"]["values"][1]["stacktrace"]["frames"]
    assert [frame["function"] for frame in frames] == ["<module>", "look"]
    assert CANARY not in "".join(ingest.bodies)


def test_an_end_by_an_exception_is_one_event(ingest: Ingest) -> None:
    program = (
        f"from contentgen_operator.telemetry import sentry\nsentry.start({ingest.dsn!r}, 'x')\n"
        f"raise OSError('{CANARY}')"
    )
    assert python(program).returncode == 1
    (event,) = ingest.events()
    assert event["exception"]["values"][0]["type"] == "OSError"
    assert CANARY not in "".join(ingest.bodies)


def test_chart_names_the_release_as_the_image_has_no_metadata(ingest: Ingest) -> None:
    program = f"""
import importlib.metadata as metadata
import logging

def version(name: str) -> str:
    raise metadata.PackageNotFoundError(name)

metadata.version = version
from contentgen_operator.telemetry import sentry
sentry.start({ingest.dsn!r}, "x")
logging.getLogger("contentgen_operator.act").error("failed")
"""
    result = python(program, SENTRY_RELEASE="contentgen@1.2.3")
    assert result.returncode == 0, result.stderr
    (event,) = ingest.events()
    assert event["release"] == "contentgen@1.2.3"


def test_a_line_of_others_is_told_without_its_text(ingest: Ingest) -> None:
    program = f"""
import logging
from contentgen_operator.telemetry import sentry
sentry.start({ingest.dsn!r}, "x")
logging.getLogger("asyncio").error("Task exception was never retrieved\\nfuture: {CANARY}")
logging.getLogger("contentgen_operator.act").warning("no error")
"""
    assert python(program).returncode == 0
    (event,) = ingest.events()
    assert event["logentry"] == {"message": "an error of asyncio"}
    assert CANARY not in "".join(ingest.bodies)


def test_a_dsn_that_is_none_is_said_and_stops_nothing() -> None:
    program = (
        "from contentgen_operator.telemetry import sentry\nsentry.start('sentry.example/1', 'x')\nprint('goes on')"
    )
    result = python(program)
    assert result.stdout == "goes on\n"
    assert "SENTRY_DSN" in result.stderr


# The operator's own main, up to where it would connect.
MAIN = """
import asyncio, sys
from contentgen_operator import __main__
asyncio.run = lambda run: run.close()
__main__.main()
print("sentry_sdk" in sys.modules)
"""


@pytest.mark.parametrize(("dsn", "imported"), [("", "False\n"), ("http://public@127.0.0.1:9/1", "True\n")])
def test_the_sdk_is_imported_only_with_a_dsn(dsn: str, imported: str) -> None:
    result = python(MAIN, SENTRY_DSN=dsn)
    assert (result.stdout, result.returncode) == (imported, 0), result.stderr
