"""State folder: what decides about payments outlives the process, killed at any step; damage is an error."""

import json
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contentgen_contract.names import API_VERSION
from contentgen_simulation.crd_cases import IMAGE, SPEC, manifest
from contentgen_try.api_server.schemas.resource_types import NAMESPACES, SECRETS, ResourceType
from contentgen_try.api_server.server import ApiServer
from contentgen_try.api_server.storage import state_file
from contentgen_try.api_server.storage.objects import Deletion, How, Place
from contentgen_try.api_server.storage.state_file import FILE, BadState, StateFile

CRDS = Path(__file__).resolve().parents[4] / "crds"
GENERATIONS = f"/apis/{API_VERSION}/namespaces/default/imagegenerations"
Body = dict[str, Any]


def kind_of(server: ApiServer, api_version: str, kind: str) -> ResourceType:
    found = server.registry.of_kind(api_version, kind)
    assert found is not None
    return found


def make(server: ApiServer, api_version: str, kind: str, name: str, namespace: str = "default", **body: Any) -> Body:
    place = Place(kind_of(server, api_version, kind), namespace)
    return server.objects.create(place, {"metadata": {"name": name}, **body}, How()).body


def kept(server: ApiServer) -> dict[str, Body]:
    """Persistent objects by kind, namespace and name."""
    return {
        f"{kind.kind}/{body['metadata'].get('namespace', '')}/{body['metadata']['name']}": body
        for kind, body in server.store.every()
        if kind.persistent
    }


def test_durable_state(tmp_path: Path) -> None:
    server = ApiServer(CRDS, tmp_path)
    make(server, "v1", "Namespace", "team", "")
    resource = make(server, API_VERSION, "ImageGeneration", "a", spec=SPEC[IMAGE])
    kind = kind_of(server, API_VERSION, "ImageGeneration")
    status = {"phase": "Processing", "run": {"number": 1, "startedAt": "2026-11-21T00:00:00Z"}}
    server.objects.change(Place(kind, "default", "a", "status"), lambda old: {**old, "status": status}, How())
    owner = {"namespace": "a", "serviceAccount": "a", "release": "a"}
    make(server, API_VERSION, "OperatorClass", "default", "", spec={"owner": owner})
    make(server, "v1", "Secret", "s", data={"a": "Yg=="})
    make(server, "v1", "ConfigMap", "c", data={"a": "b"})
    make(server, "batch/v1", "Job", "j", spec={"template": {"spec": {"containers": [{}]}}})
    make(server, "v1", "Pod", "p", spec={"containers": [{}]})
    make(server, "coordination.k8s.io/v1", "Lease", "l", spec={})
    make(server, "v1", "Event", "e")
    before, version = kept(server), server.store.version
    assert before["ImageGeneration/default/a"]["metadata"]["uid"] == resource["metadata"]["uid"]
    assert {"Namespace//kube-system", "Namespace//team", "Secret/default/s", "ConfigMap/default/c",
            "OperatorClass//default"} < before.keys()  # fmt: skip
    server.close()

    again = ApiServer(CRDS, tmp_path)
    assert kept(again) == before
    newer = make(again, "v1", "ConfigMap", "new")
    assert int(newer["metadata"]["resourceVersion"]) > version
    for api_version, name in (("batch/v1", "Job"), ("v1", "Pod"), ("coordination.k8s.io/v1", "Lease"), ("v1", "Event")):
        assert again.store.all(kind_of(again, api_version, name)) == []
    again.objects.delete(Place(SECRETS, "default", "s"), Deletion())
    again.close()
    last = ApiServer(CRDS, tmp_path)
    assert "Secret/default/s" not in kept(last)
    last.close()


def test_versions_increase_over_many_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_file, "_BLOCK", 3)
    newest = 0
    for _ in range(4):
        server = ApiServer(CRDS, tmp_path)
        for name in "abcdefgh":
            made = make(server, "v1", "Event", name)  # not durable itself, but its version must not be given again
            assert int(made["metadata"]["resourceVersion"]) > newest
            newest = int(made["metadata"]["resourceVersion"])
        server.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    server = ApiServer(CRDS, tmp_path)
    with pytest.raises(BadState, match="used by another process"):
        ApiServer(CRDS, tmp_path)
    server.close()
    ApiServer(CRDS, tmp_path).close()


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def overwritten(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:4096] = os.urandom(3996)
    path.write_bytes(content)


def one_letter(path: Path) -> None:
    content = path.read_bytes()
    assert content.count(b"A house") == 1
    path.write_bytes(content.replace(b"A house", b"A mouse"))


def not_a_database(path: Path) -> None:
    path.write_text(json.dumps({"objects": []}))


def an_empty_database(path: Path) -> None:
    path.unlink()
    sqlite3.connect(path).close()


def another_database(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE objects (place, body, digest)")
    connection.close()


def newer_format(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [truncated, emptied, overwritten, one_letter, not_a_database, an_empty_database, another_database, newer_format,
     Path.unlink],
)  # fmt: skip
def test_damage_is_an_error_and_never_an_empty_start(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    server = ApiServer(CRDS, tmp_path)
    make(server, API_VERSION, "ImageGeneration", "a", spec=SPEC[IMAGE])
    server.close()
    damage(tmp_path / FILE)
    before = (tmp_path / FILE).read_bytes() if (tmp_path / FILE).exists() else None
    for _ in range(2):
        with pytest.raises(BadState, match="may then be paid again"):
            ApiServer(CRDS, tmp_path)
    assert ((tmp_path / FILE).read_bytes() if (tmp_path / FILE).exists() else None) == before


def test_a_kind_without_a_crd_is_an_error(tmp_path: Path) -> None:
    server = ApiServer(CRDS, tmp_path / "state")
    make(server, API_VERSION, "ImageGeneration", "a", spec=SPEC[IMAGE])
    server.close()
    crds = tmp_path / "crds"
    crds.mkdir()
    (crds / "other.yaml").write_text(next(CRDS.glob("*transcriptions.yaml")).read_text())
    with pytest.raises(BadState, match="ImageGeneration"):
        ApiServer(crds, tmp_path / "state")


def test_an_interrupted_creation_of_the_file_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the file has its name: the next start begins again, since no object was ever stored."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            StateFile(tmp_path)
    assert not (tmp_path / FILE).exists()
    ApiServer(CRDS, tmp_path).close()


class Failing:
    """A connection whose disk is full."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, command: str, *values: Any) -> object:
        if command.startswith("PRAGMA"):
            return self._connection.execute(command, *values)
        raise sqlite3.OperationalError("database or disk is full")


def test_a_write_that_fails_changes_nothing_and_is_the_last(tmp_path: Path) -> None:
    """Whether a failed write is on the disk is unknown, so nothing else may be decided on top of it."""
    server = ApiServer(CRDS, tmp_path)
    make(server, "v1", "Secret", "s")
    file = server._file
    assert file is not None
    before, working = kept(server), file._connection
    file._connection = Failing(working)  # type: ignore[assignment]
    with pytest.raises(sqlite3.OperationalError):
        make(server, "v1", "Secret", "t")
    with pytest.raises(sqlite3.OperationalError):
        server.objects.delete(Place(SECRETS, "default", "s"), Deletion())
    assert kept(server) == before
    file._connection = working
    with pytest.raises(sqlite3.Error, match="restart"):
        make(server, "v1", "Secret", "t")
    server.close()
    again = ApiServer(CRDS, tmp_path)
    assert kept(again) == before
    again.close()


def names_answered_before_a_kill(state: Path, at: int) -> list[str]:
    """Names whose creation was answered by a child process that is killed in SQLite's step `at`; with `end` if it was
    not killed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _create_until_killed(state, at, writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answered = stream.read().split()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or answered[-1:] == ["end"]
    return answered


def _create_until_killed(state: Path, at: int, writing: int) -> None:
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    server = ApiServer(CRDS, state)
    assert server._file is not None
    server._file._connection.set_progress_handler(step, 5)
    for number in range(6):
        name = f"c{number}"
        make(server, "v1", "ConfigMap", name, data={"n": "x" * 3000})
        os.write(writing, f"{name}\n".encode())
    os.write(writing, b"end\n")


def test_killed_between_any_two_steps_of_a_write(tmp_path: Path) -> None:
    """SIGKILL inside of SQLite's own steps: each answered write is there, and at most one that was not answered."""
    interrupted = 0
    for at in range(1, 100, 2):
        state = tmp_path / str(at)
        answered = names_answered_before_a_kill(state, at)
        server = ApiServer(CRDS, state)
        there = [resource["metadata"]["name"] for resource in server.store.all(kind_of(server, "v1", "ConfigMap"))]
        server.close()
        if answered[-1:] == ["end"]:
            break
        interrupted += 1
        assert there in (answered, [*answered, f"c{len(answered)}"])
    assert interrupted >= 5
    assert answered[-1] == "end"


def test_namespace_in_deletion_is_finished_at_the_start(tmp_path: Path) -> None:
    server = ApiServer(CRDS, tmp_path)
    make(server, "v1", "Namespace", "team", "")
    make(server, "v1", "Pod", "p", "team", spec={"containers": [{}], "nodeName": "n"})
    _, gone = server.objects.delete(Place(NAMESPACES, "", "team"), Deletion())
    assert not gone  # its pod runs
    server.close()
    again = ApiServer(CRDS, tmp_path)
    assert again.store.find(NAMESPACES, "", "team") is None
    again.close()


def test_a_server_that_was_killed_continues(tmp_path: Path, start: Callable[..., Any]) -> None:
    first = start("--state", str(tmp_path / "state"))
    assert (first.kubeconfig.stat().st_mode & 0o777) == 0o600
    with first.client() as client:
        made = client.post(GENERATIONS, json=manifest(IMAGE, SPEC[IMAGE])).json()
    first.process.kill()
    first.process.wait()
    second = start("--state", str(tmp_path / "state"))
    with second.client() as client:
        assert client.get(f"{GENERATIONS}/crd-test").json() == made
        old = {"watch": "true", "resourceVersion": made["metadata"]["resourceVersion"]}
        assert client.get(GENERATIONS, params=old).status_code == 410
    second.end()
    assert second.process.returncode == 0
