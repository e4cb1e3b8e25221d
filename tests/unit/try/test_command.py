"""Options of `contentgen try`, the entry `contentgen`, and what a worker's process gets."""

import socket
from pathlib import Path
from typing import Any

import pytest

from contentgen_try import command, entry, worker
from contentgen_try.kubelet import volumes


def test_a_variable_alone_pays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAL_KEY", "secret")
    assert not command.parse([]).pays
    assert command.parse(["--fal-key-file", "-"]).fal.key == "secret"


def test_a_key_comes_from_its_file_without_the_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    options = command.parse(["--assemblyai-key-file", str(tmp_path / "key"), "my.yaml"])
    assert (options.assemblyai.key, options.pays, options.manifests) == ("secret", True, (Path("my.yaml"),))


@pytest.mark.parametrize(
    "arguments", [["--fal-key", " "], ["--fal-key", "a", "--fal-key-file", "b"], ["--fal-key-file", "/nowhere"]]
)
def test_an_unusable_key_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.parse(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize(("arguments", "extra"), [(["try"], "[try]"), (["backup", "-"], "[gateway]")])
def test_a_missing_package_names_the_extra(arguments: list[str], extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'absent'", name="absent")

    monkeypatch.setattr("sys.argv", ["contentgen", *arguments])
    monkeypatch.setattr("contentgen_try.command.main", absent)
    monkeypatch.setattr("contentgen_gateway.migration.commands.main", absent)
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert "absent is not installed" in str(caught.value.code)
    assert extra in str(caught.value.code)


POD = {
    "metadata": {"name": "p", "namespace": "default", "uid": "u"},
    "spec": {
        "serviceAccountName": "robot",
        "containers": [
            {
                "volumeMounts": [
                    {"name": "scratch", "mountPath": "/scratch"},
                    {"name": "token", "mountPath": "/var/run/secrets/contentgen"},
                ],
                "env": [
                    {"name": "TMPDIR", "value": "/scratch"},
                    {"name": "DEEP", "value": "/scratch/a/b"},
                    {"name": "BESIDE", "value": "/scratchy"},
                    {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}},
                    {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
            }
        ],
    },
}


def test_mount_paths_become_folders_of_the_pod() -> None:
    mounted = volumes.folders(POD, Path("/pod"))
    assert volumes.environment(POD, mounted) == {
        "TMPDIR": "/pod/scratch",
        "DEEP": "/pod/scratch/a/b",
        "BESIDE": "/scratchy",
        "WHO": "robot",
        "NAME": "p",
        "CONTENTGEN_TOKEN_FILE": "/pod/token/token",
    }


def test_an_unsupported_source_of_a_value_is_an_error() -> None:
    pod = {"spec": {"containers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]}]}}
    with pytest.raises(ValueError, match="env A"):
        volumes.environment(pod, {})


def test_the_samples_host_is_the_local_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)
    monkeypatch.setattr(socket, "create_connection", socket.create_connection)
    with socket.create_server(("127.0.0.1", 0)) as server:
        worker.redirect(server.getsockname()[1])
        [*_, (*_, address)] = socket.getaddrinfo(worker.HOST, 80, type=socket.SOCK_STREAM)
        socket.create_connection((address[0], 80), timeout=60).close()
        server.settimeout(60)
        server.accept()[0].close()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((address[0], 81), timeout=60)
